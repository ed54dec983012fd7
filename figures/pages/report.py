"""Write one page that opens without a network: what was run, its numbers, figures, answers,
provenance.

``python -m figures.pages.report results/`` gathers every finished results folder below a root.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from markupsafe import Markup

from figures.command_line import read_runs, run_command
from figures.pages.page import figures_of, question_of, write_page
from figures.pages.run_contents import frames_of, vector_cards
from figures.steering.completions import COLUMNS, completions_table
from interp_steer.errors import FigureError
from interp_steer.results import Results, interval_text, number_text, rows

FOOTER = (
    "Made by figures.pages.report from the folders named under Provenance; their checksums were "
    "verified as they were read. This page loads nothing from the network."
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
        runs: the results of `Run.read` or `Run.finish`, in the order of the page.
        path: the file of the page; its folder is created.
        title: title of the page.
        introduction: a paragraph under the title.
        notes: cautions under the title; the remark on bundled toy models is added automatically.
        samples: number of prompts per instruction whose answers are shown.

    Returns:
        The path.

    Raises:
        FigureError: without runs.
        RunError: when the page cannot be written.

    Example::

        write_report(Run.read("results/..."), "report.html", "Steering")
    """
    runs = [runs] if isinstance(runs, Results) else list(runs)
    if not runs:
        raise FigureError("write_report was given no finished run; run an analysis first.")
    figures = figures_of(runs)
    return write_page(
        path,
        "report.html.j2",
        runs,
        figures,
        title=title,
        notes=notes,
        introduction=introduction,
        sections=[_section(i, run, figures, samples) for i, run in enumerate(runs)],
        footer=FOOTER,
    )


def _section(
    i: int, run: Results, figures: Sequence[Mapping[str, Any]], samples: int
) -> dict[str, Any]:
    question, about = question_of(run)
    summary = [_row(row) for row in rows(run.summary)]
    completions = _completions(run, samples)
    return {
        "id": f"run-{i + 1}",
        "analysis": run.analysis,
        "model": run.model or "no model",
        "question": question,
        "about": _paragraphs(about),
        "facts": _facts(run),
        "figures": [figure for figure in figures if figure["run"] == i],
        "rows": summary,
        "strips": any(row["strip"] for row in summary),
        "undefined": ", ".join(run.provenance.get("undefined", [])),
        "completions": completions,
        "completions_note": (
            f"The first {'prompt' if samples == 1 else f'{samples} prompts'} of each instruction, "
            "in the order of the data, whatever the answers were. Of several layers, the layer "
            "with most successes is shown."
        ),
        "vectors": vector_cards(run),
        "frames": frames_of(run),
        "provenance_line": provenance_line(run),
        "provenance": list(_flat(_provenance(run))),
    }


def _row(row: Any) -> dict[str, Any]:
    interval, strip = interval_text(row), None
    if interval and 0 <= row.low <= row.high <= 1:
        strip = [round(100 * x, 2) for x in (row.value, row.low, row.high)]
    return {
        "name": row.name,
        "value": number_text(row.value),
        "interval": interval,
        "strip": strip,
    }


def _paragraphs(text: str) -> str:
    """Join the lines of a docstring into paragraphs."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n") if part.strip())


def _completions(run: Results, samples: int) -> Markup | None:
    records = run.records()
    if samples < 1 or records is None or not {*COLUMNS} <= set(records.columns):
        return None
    outcome = next((one for one in ("strict", "in_language") if one in records.columns), None)
    if outcome is None:
        return None
    # The template of the table escapes all text.
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


def provenance_line(run: Results) -> str:
    """Return the commit, the fingerprint of the weights and the folder, in one line."""
    commit, dirty = (run.provenance["source"].get(key) for key in ("commit", "dirty"))
    at = f"commit {commit[:10]}{' with local changes' if dirty else ''}" if commit else "no commit"
    fingerprint = run.provenance["model"].get("fingerprint")
    return f"{at}, model fingerprint {fingerprint or 'not recorded'}, {run.path.as_posix()}"


def _provenance(run: Results) -> dict[str, Any]:
    fields = ("model", "data", "source", "versions", "machine", "start", "end", "wall_seconds")
    return {"config": run.config, "seed": run.seed} | {k: run.provenance.get(k) for k in fields}


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


@dataclass(frozen=True)
class Config:
    """Gather finished results folders into one offline HTML page."""

    root: tyro.conf.Positional[Path] = Path("results")
    """Folder to look for results folders in."""
    out: Path | None = None
    """File of the page; by default report.html in the root."""
    title: str = "Steering results"
    """Title of the page."""
    samples: int = 1
    """Number of prompts per instruction whose answers are shown; 0 shows no answers."""


def main(config: Config) -> Path:
    """Write the page of every finished folder below the root, and return its path.

    Raises:
        RunError: when no folder can be read.
    """
    path = config.out or config.root / "report.html"
    return write_report(read_runs(config.root), path, config.title, samples=config.samples)


if __name__ == "__main__":
    run_command(Config, main, "figures.pages.report")
