"""Run three analyses of one model for all format instructions, and write one report.

The model's activations are compared (similarity). A difference-in-means vector is fitted for each
instruction, and every layer is tried (layer_sweep). Steering at the chosen layers is then compared
with no steering, a random direction, and the text instruction (format_steering). The report is
``<results>/demo/report.html``, a page that opens without a network.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import interp_steer as ist
from analyses.instructions import format_steering, layer_sweep, similarity
from analyses.instructions.layer_search import (
    SteeringSetup,
    choose_layers,
    fit_for_instructions,
    search_layers,
)
from analyses.kit.answer_options import open_sweep_options
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.parts import configure, open_part
from figures.pages.report import write_report


@dataclass(frozen=True)
class Config(format_steering.Config):
    """Size of the job; with the defaults it takes a few minutes on two cores."""

    operations: tuple[str, ...] = ("project", "generated/add:3")
    """Ways to steer, of which the best is chosen; see layer_sweep."""
    n_select: int = 10
    """Prompts on which each layer is tried."""
    n_test: int = 24
    """Prompts in the test split, on which results are reported."""
    max_new_tokens: int = 112
    """Maximum number of new tokens per answer; unsteered answers have about 55."""
    draws: int = 1
    """Random directions that each vector is compared with."""
    controls: tuple[Literal["shuffled", "others"], ...] = ()
    """Further controls that each vector is compared with; see format_steering."""


def main(config: Config, run: ist.Run) -> None:
    """Run the three analyses, each into its own folder, and gather them into one page."""
    start = time.monotonic()
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    steerers = fit_for_instructions(model, sets, run, config.operations)

    part_config = configure(similarity, config)
    with open_part(run, similarity, part_config) as part:
        similarity.main(part_config, part)
        similar = part.finish()

    with open_sweep_options(config, model, run) as options:
        setup = SteeringSetup(model, reference, sets, steerers, options)
        with open_part(run, layer_sweep, configure(layer_sweep, config)) as part:
            part.used(model, *sets.values())
            searched = search_layers(setup, config)
            choices = choose_layers(searched)
            layer_sweep.write_results(part, searched, steerers, choices)
            swept = part.finish()

        with open_part(run, format_steering, configure(format_steering, config)) as part:
            part.used(model, *sets.values())
            records = format_steering.compare_settings(setup, choices, config, run)
            format_steering.write_results(part, records, steerers, choices, config.rule)
            steered = part.finish()

    run.write_records(records)
    report = run.root / "demo" / "report.html"
    write_report([steered, swept, similar], report, title=f"Steering {config.model}")
    run.leave(
        summary=format_steering.accuracies(records)
        | format_steering.damages(records)
        | {
            "instructions": len(steerers),
            "wall_seconds": time.monotonic() - start,
            "answers.reused": options["ledger"].reused,
        }
    )
    print(f"report: {report}")
