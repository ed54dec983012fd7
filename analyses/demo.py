"""The main job: three analyses of one model for all the format instructions, and one report.

The model's activations are compared (similarity), a difference-in-means vector is fitted for each
instruction, every layer is tried (layer_sweep), and the chosen layers are put to the test against
no steering, a random direction, and the text instruction (format_steering). The report, one page
that opens with no network, is ``<results>/demo/report.html``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import interp_steer as ist
from analyses.instructions import format_steering, layer_sweep, similarity
from analyses.kit.answer_options import asking
from analyses.kit.instruction_sets import contrast_sets
from analyses.kit.parts import configured, opened
from figures.pages.report import write_report


@dataclass(frozen=True)
class Config(format_steering.Config):
    """The size of the job; with the defaults it takes a few minutes on two cores."""

    operations: tuple[str, ...] = ("project", "generated/add:3")
    """Ways to steer, of which the best is chosen; see layer_sweep."""
    n_select: int = 10
    """Prompts that each layer is tried on."""
    n_test: int = 24
    """Prompts that are reported."""
    max_new_tokens: int = 112
    """Where an answer is cut; plain answers have about 55 tokens."""
    draws: int = 1
    """Random directions that each vector is compared with."""
    controls: tuple[Literal["shuffled", "others"], ...] = ()
    """Other vectors that each is compared with."""


def main(config: Config, run: ist.Run) -> None:
    """Run the three analyses, each into its own folder, and gather them into one page."""
    start = time.monotonic()
    model, reference = ist.load(config.model), ist.load(config.reference)
    sizes = {"fit": config.n_fit, "select": config.n_select, "test": config.n_test}
    sets = contrast_sets(config.instruction, run.seed, data=config.data, **sizes)
    run.used(model, *sets.values())
    steerers = layer_sweep.fitted(model, sets, run, config.operations)

    looking = configured(similarity, config)
    with opened(run, similarity, looking) as part:
        similarity.main(looking, part)
        similar = part.finish()

    with asking(config, model, run) as options:
        with opened(run, layer_sweep, configured(layer_sweep, config)) as part:
            part.used(model, *sets.values())
            searched = layer_sweep.search(model, reference, sets, steerers, config, options)
            choices = layer_sweep.choose(searched)
            layer_sweep.leave(part, searched, steerers, choices)
            swept = part.finish()

        with opened(run, format_steering, configured(format_steering, config)) as part:
            part.used(model, *sets.values())
            records = format_steering.compare(
                model, reference, sets, steerers, choices, config, run, options
            )
            format_steering.leave(part, records, steerers, choices, config.rule)
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
