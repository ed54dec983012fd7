"""The main job: three analyses of one model for all the format instructions, and one report.

The bundled model's activations are compared (similarity), a difference-in-means vector is fitted
for each instruction, every layer is tried (layer_sweep), and the chosen layers are put to the test
against no steering, a random direction, and the text instruction (format_steering). The report,
one page that opens with no network, is ``<results>/demo/report.html``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import interp_steer as ist
from analyses.instructions import format_steering, layer_sweep, similarity
from figures.export import print_figures
from figures.report import write_report
from interp_steer.burattino.instructions import FORMAT_IDS
from interp_steer.grid import with_fluency


@dataclass(frozen=True)
class Config:
    """The size of the job; the defaults take a few minutes on two cores."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = FORMAT_IDS
    """IFEval ids of the instructions to steer towards."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 12
    """Prompts that each layer is tried on."""
    n_test: int = 32
    """Prompts that are reported."""
    max_new_tokens: int = 160
    """Where an answer is cut."""
    batch_size: int = 96
    """Rows decoded at once."""
    reference: str = "burattino-base"
    """The model whose perplexity tells degenerate answers."""


def main(config: Config, run: ist.Run) -> None:
    """Run the three analyses, each into its own folder, and gather them into one page."""
    start = time.monotonic()
    asked = {"model": config.model, "instruction": config.instruction, "n_fit": config.n_fit}
    tried = asked | {"n_select": config.n_select, "max_new_tokens": config.max_new_tokens}
    sizes = {"max_new_tokens": config.max_new_tokens, "batch_size": config.batch_size}

    model, reference = ist.load(config.model), ist.load(config.reference)
    sets = layer_sweep.contrast_sets(
        config.instruction,
        run.seed,
        fit=config.n_fit,
        select=config.n_select,
        test=config.n_test,
    )
    run.used(model, *sets.values())
    vectors = {name: ist.fit(model, pairs.fit) for name, pairs in sets.items()}

    compared = similarity.Config(model=config.model, instruction=config.instruction)
    with _open(run, similarity, compared) as step:
        similarity.main(compared, step)
        similar = step.finish()

    with _open(run, layer_sweep, layer_sweep.Config(**tried)) as step:
        step.used(model, *sets.values())
        searched = layer_sweep.search(model, sets, vectors, **sizes)
        searched = with_fluency(searched, reference)
        choices = layer_sweep.choose(searched)
        layer_sweep.leave(step, searched, vectors, choices)
        swept = step.finish()

    chosen = {(name, text): c for (name, text, rule), c in choices.items() if rule == "interval"}
    with _open(run, format_steering, format_steering.Config(**tried, n_test=config.n_test)) as step:
        step.used(model, *sets.values())
        records = format_steering.compare(model, sets, vectors, chosen, seed=run.seed, **sizes)
        records = with_fluency(records, reference)
        format_steering.leave(step, records, vectors, chosen)
        steered = step.finish()

    run.write_records(records)
    report = run.root / "demo" / "report.html"
    write_report([steered, swept, similar], report, title=f"Steering {config.model}")
    run.leave(
        summary=format_steering.accuracies(records)
        | {"instructions": len(vectors), "wall_seconds": time.monotonic() - start}
    )
    print(f"report: {report}")


def _open(run: ist.Run, analysis: object, config: object) -> ist.Run:
    name = analysis.__name__.rsplit(".", 1)[-1]  # type: ignore[attr-defined]
    return ist.open_run(
        name,
        config,
        root=run.root,
        seed=run.seed,
        about=analysis.__doc__ or "",
        export=print_figures,
    )
