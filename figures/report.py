"""One page that opens with no network: what was run, its numbers, figures, answers, provenance.

``python -m figures.report results/`` gathers every finished results folder below a root.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2
import tyro
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from figures.completions import COLUMNS, completions_table
from figures.drawing import FigureError, listed
from interp_steer.burattino import NAMES as BUNDLED
from interp_steer.errors import InterpSteerError, RunError
from interp_steer.files import write_atomically
from interp_steer.finished import Results, find, read
from interp_steer.folders import mended
from interp_steer.summary import number_text, rows

TOY = "{models} {is_are} that proves the pipeline; nothing here is evidence about large models."
"""What a page says when a bundled model was run."""

FOOTER = (
    "Made by figures.report from the folders named under Provenance; their checksums were verified "
    "as they were read. This page loads nothing from the network."
)


def write_report(
    runs: Results | Sequence[Results],
    path: str | Path,
    title: str,
    *,
    introduction: str = "",
    notes: Sequence[str] = (),
    samples: int = 1,
) -> Path:
    """Write finished runs as one self-contained HTML page.

    Args:
        runs: what `Run.read` or `Run.finish` returned, in the order of the page.
        path: where the page goes; its folder is made.
        title: of the page.
        introduction: a paragraph under the title.
        notes: cautions under it; that a model is a bundled toy is said without being asked.
        samples: prompts per instruction whose answers are shown.

    Returns:
        The path.

    Raises:
        FigureError: without runs.
        RunError: when the page cannot be written.

    Example:
        >>> write_report(Run.read("results/..."), "report.html", "Steering")  # doctest: +SKIP
    """
    runs = [runs] if isinstance(runs, Results) else list(runs)
    if not runs:
        raise FigureError("there is no finished run to report; run an analysis first.")
    figures = _figures(runs)
    names = _toys(runs)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=title,
            stamp=_stamp(runs),
            introduction=introduction,
            notes=[*([_toy_note(names)] if names else []), *notes],
            runs=[_section(i, run, figures, samples) for i, run in enumerate(runs)],
            figures=figures,
            # A closing tag inside the script's text would end it early.
            plotly_js=Markup(get_plotlyjs().replace("</script", "<\\/script")) if figures else "",
            footer=FOOTER,
        )
    )
    path = Path(path)
    with mended(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as aside:
            aside.write_text(page, "utf-8")
    return path


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _toys(runs: Sequence[Results]) -> list[str]:
    """The bundled models that the runs are about, in the order in which they are listed."""
    about = {Path(name).name for run in runs for name in (run.model, *_models(run.config))}
    return [name for name in BUNDLED if name in about]


def _models(config: Mapping[str, Any]) -> list[str]:
    """Every text in a config but the reference, which measures answers and gives none."""
    values = [value for key, value in config.items() if key != "reference"]
    each = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return [one for one in each if isinstance(one, str)]


def _toy_note(names: Sequence[str]) -> str:
    return TOY.format(
        models=listed(names),
        is_are="is a bundled toy model" if len(names) == 1 else "are bundled toy models",
    ).replace("toy models that proves", "toy models that prove")


def _figures(runs: Sequence[Results]) -> list[dict[str, Any]]:
    """Every figure of every run, with its size and its data as it stands in the page."""
    figures: list[dict[str, Any]] = []
    for i, run in enumerate(runs):
        for name, caption in run.captions.items():
            data = json.loads(run.figure(name).read_text("utf-8"))
            layout = data["layout"]
            figures.append(
                {
                    "run": i,
                    "id": f"figure-{len(figures) + 1}",
                    "number": len(figures) + 1,
                    "name": name,
                    "caption": caption,
                    "width": layout.get("width", 670),
                    "height": layout.get("height", 400),
                    "least": _least_width(layout),
                    "json": _script_json(data),
                }
            )
    return figures


def _least_width(layout: Mapping[str, Any]) -> int:
    """How narrow a figure may become on a small screen before it scrolls instead."""
    width = layout.get("width", 670)
    panels = sum(key.startswith("xaxis") for key in layout)
    if panels > 2:
        return width
    return min(width, 340 if layout.get("showlegend") is False or width < 500 else 480)


def _script_json(data: Any) -> Markup:
    """JSON that cannot end the script element that holds it."""
    text = json.dumps(data, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _section(
    i: int, run: Results, figures: Sequence[Mapping[str, Any]], samples: int
) -> dict[str, Any]:
    question, _, about = str(run.provenance.get("about") or "").strip().partition("\n")
    summary = [_row(row) for row in rows(run.summary)]
    completions = _completions(run, samples)
    return {
        "id": f"run-{i + 1}",
        "analysis": run.analysis,
        "model": run.model or "no model",
        "question": question or run.analysis,
        "about": _paragraphs(about),
        "facts": _facts(run),
        "figures": [figure for figure in figures if figure["run"] == i],
        "rows": summary,
        "strips": any(row["strip"] for row in summary),
        "undefined": ", ".join(run.provenance.get("undefined", [])),
        "completions": completions,
        "completions_note": (
            f"The first {'prompt' if samples == 1 else f'{samples} prompts'} of each instruction, "
            "in the order of the data and whatever came out. Where several layers were run, the "
            "one with most successes is shown."
        ),
        "provenance_line": _provenance_line(run),
        "provenance": list(_flat(_provenance(run))),
    }


def _row(row: Any) -> dict[str, Any]:
    interval, strip = "", None
    if row.low is not None and row.high is not None:
        interval = f"{number_text(row.low)} to {number_text(row.high)}"
        if 0 <= row.low <= row.high <= 1:
            strip = [round(100 * x, 2) for x in (row.value, row.low, row.high)]
    return {
        "name": row.name,
        "value": number_text(row.value),
        "interval": interval,
        "strip": strip,
    }


def _paragraphs(text: str) -> str:
    """A docstring's lines joined into paragraphs."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n") if part.strip())


def _completions(run: Results, samples: int) -> Markup | None:
    records = run.records()
    if samples < 1 or records is None or not {*COLUMNS} <= set(records.columns):
        return None
    outcome = next((one for one in ("strict", "in_language") if one in records.columns), None)
    if outcome is None:
        return None
    # The template of the table escapes every text in it.
    return Markup(completions_table(records, per_instruction=samples, outcome=outcome))


def _facts(run: Results) -> str:
    where = run.provenance["machine"].get("accelerator") or run.provenance["model"].get("device")
    facts = [
        f"analysis {run.analysis}",
        f"model {run.model or 'none'}",
        f"seed {run.seed}",
        f"{_duration(run.provenance['wall_seconds'])} on {where or 'cpu'}",
        run.provenance["end"][:16].replace("T", " ") + " UTC",
    ]
    return " · ".join(facts)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _provenance_line(run: Results) -> str:
    commit, dirty = (run.provenance["source"].get(key) for key in ("commit", "dirty"))
    at = f"commit {commit[:10]}{' with local changes' if dirty else ''}" if commit else "no commit"
    fingerprint = run.provenance["model"].get("fingerprint")
    return f"{at}, model fingerprint {fingerprint or 'not recorded'}, {run.path.as_posix()}"


def _provenance(run: Results) -> dict[str, Any]:
    kept = ("model", "data", "source", "versions", "machine", "start", "end", "wall_seconds")
    return {"config": run.config, "seed": run.seed} | {k: run.provenance.get(k) for k in kept}


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            lines.append((prefix + key, ", ".join(map(str, value))))
        else:
            lines.append((prefix + key, "none" if value is None else str(value)))
    return lines


def _stamp(runs: Sequence[Results]) -> str:
    made = datetime.now(timezone.utc).strftime("%d %B %Y, %H:%M UTC").lstrip("0")
    version = runs[0].provenance["versions"].get("interp-steer") or "from a checkout"
    return f"{made} · interp_steer {version} · {len(runs)} {'run' if len(runs) == 1 else 'runs'}"


@dataclass(frozen=True)
class Config:
    """Gather finished results folders into one offline HTML page."""

    root: tyro.conf.Positional[Path] = Path("results")
    """Folder to look for results folders in."""
    out: Path | None = None
    """Where the page goes; report.html in the root when not given."""
    title: str = "Steering results"
    """Title of the page."""
    samples: int = 1
    """Prompts per instruction whose answers are shown; 0 for none."""


def main(config: Config) -> Path:
    """Read every finished folder below the root, say which are left out, and write the page.

    Raises:
        RunError: when none can be read.
    """
    runs: list[Results] = []
    for folder in find(config.root):
        try:
            runs.append(read(folder))
        except RunError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not runs:
        raise RunError(
            f"{config.root} holds no finished results folder; run an analysis first "
            "(python -m analyses lists them), or name another root."
        )
    path = config.out or config.root / "report.html"
    return write_report(runs, path, config.title, samples=config.samples)


if __name__ == "__main__":
    try:
        print(main(tyro.cli(Config, prog="python -m figures.report")))
    except InterpSteerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
