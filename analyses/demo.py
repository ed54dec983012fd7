"""The main job: three analyses of one model for all the format instructions, and one report.

The model's activations are compared (similarity), a difference-in-means vector is fitted for each
instruction, every layer is tried (layer_sweep), and the chosen layers are put to the test against
no steering, a random direction, and the text instruction (format_steering). The report, one page
that opens with no network, is ``<results>/demo/report.html``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import Any

import interp_steer as ist
from analyses.asking import asking
from analyses.instructions import format_steering, layer_sweep, similarity
from figures.export import print_figures
from figures.report import write_report


@dataclass(frozen=True)
class Config(format_steering.Config):
    """The size of the job; with the defaults it takes a few minutes on two cores."""

    n_select: int = 10
    """Prompts that each layer is tried on."""
    n_test: int = 32
    """Prompts that are reported."""
    max_new_tokens: int = 112
    """Where an answer is cut; plain answers have about 55 tokens."""


def main(config: Config, run: ist.Run) -> None:
    """Run the three analyses, each into its own folder, and gather them into one page."""
    start = time.monotonic()
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = layer_sweep.contrast_sets(config.instruction, run.seed, **sizes)
    run.used(model, *sets.values())
    vectors = layer_sweep.fitted(model, sets, run)

    with _part(run, similarity, config) as part:
        similarity.main(similarity.Config(config.model, config.instruction), part)
        similar = part.finish()

    with asking(config, model, run) as options:
        with _part(run, layer_sweep, config) as part:
            part.used(model, *sets.values())
            searched = layer_sweep.search(model, reference, sets, vectors, config, options)
            choices = layer_sweep.choose(searched)
            layer_sweep.leave(part, searched, vectors, choices)
            swept = part.finish()

        with _part(run, format_steering, config) as part:
            part.used(model, *sets.values())
            records = format_steering.compare(
                model, reference, sets, vectors, choices, config, run.seed, options
            )
            format_steering.leave(part, records, vectors, choices, config.rule)
            steered = part.finish()

    run.write_records(records)
    report = run.root / "demo" / "report.html"
    write_report([steered, swept, similar], report, title=f"Steering {config.model}")
    run.leave(
        summary=format_steering.accuracies(records)
        | {
            "instructions": len(vectors),
            "wall_seconds": time.monotonic() - start,
            "answers.reused": options["ledger"].reused,
        }
    )
    print(f"report: {report}")


def _part(run: ist.Run, analysis: Any, config: Config) -> ist.Run:
    """Open the results folder of one of the analyses, as if it had been run with this config."""
    known = {field.name for field in fields(analysis.Config)}
    own = {f.name: getattr(config, f.name) for f in fields(config) if f.name in known}
    return ist.open_run(
        analysis.__name__.rsplit(".", 1)[-1],
        analysis.Config(**own),
        root=run.root,
        seed=run.seed,
        about=analysis.__doc__ or "",
        export=print_figures,
    )
