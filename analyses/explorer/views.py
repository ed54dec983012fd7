"""Draw the views of the page: figures of the vectors and of their effects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

import figures
import interp_steer as ist
from analyses.explorer.form import SteeringChoice
from analyses.explorer.jobs import ExplorerError, Job
from analyses.explorer.workspace import Workspace, make_label
from analyses.geometry.propagation import CURVES, average_over_prompts
from figures.style.drawing import Drawing
from interp_steer.geometry import cosine_map, propagate, vocabulary
from interp_steer.interventions import Operation
from interp_steer.vectors import inner_product

MAX_PROPAGATION_PROMPTS = 12
"""Prompts on which the propagation of an injection is measured."""

N_RANDOM = 2
"""Random directions whose propagation is measured for comparison."""

TOP = 8
"""Tokens that the logit lens lists."""


@dataclass(frozen=True)
class ViewResult:
    """Drawings by name, facts as (name, value), and a note."""

    drawings: Mapping[str, Drawing]
    facts: tuple[tuple[str, str], ...] = ()
    note: str = ""


View = Callable[[Workspace, tuple[SteeringChoice, ...], Job], Iterator[None]]


def draw_lens(
    workspace: Workspace, choices: tuple[SteeringChoice, ...], job: Job
) -> Iterator[None]:
    """Draw the tokens that the first vector raises and lowers most through the unembedding."""
    source = choices[0].source
    vector = workspace.get_vector(source, job)
    yield
    tokens = vocabulary(workspace.model, vector, TOP)
    name = make_label(source.name)
    job.report(
        result=ViewResult(
            {
                "lens_raised": figures.layer_tokens(tokens, name, "raised"),
                "lens_lowered": figures.layer_tokens(tokens, name, "lowered"),
            }
        )
    )


def draw_cosines(
    workspace: Workspace, choices: tuple[SteeringChoice, ...], job: Job
) -> Iterator[None]:
    """Draw the cosines between chosen and fitted vectors, and between the first vector's layers."""
    source = choices[0].source
    wanted = [choice.source for choice in choices]
    for wanted_source in wanted:
        workspace.get_vector(wanted_source, job)
        yield
    first = workspace.get_vector(source)
    sources = list(dict.fromkeys([*wanted, *workspace.list_fitted_like(source)]))
    vectors = {one: workspace.get_vector(one) for one in sources}
    alike = {
        one: vector
        for one, vector in vectors.items()
        if (vector.layers, vector.card.component) == (first.layers, first.card.component)
    }
    layer = choices[0].layers[0]
    drawings = {}
    if len(alike) > 1:
        names = [make_label(one.name) for one in alike]
        matrix = cosine_map(list(alike.values()), layer)
        drawings["vector_cosines"] = figures.similarity_map(matrix.numpy(), names, layer)
    unit = first.unit
    rows = [
        (first.name, a, b, float(inner_product(unit[i : i + 1], unit[j : j + 1])[0]))
        for i, a in enumerate(first.layers)
        for j, b in enumerate(first.layers)
    ]
    drawings["layer_cosines"] = figures.layer_cosines(
        pl.DataFrame(rows, ["instruction", "layer_a", "layer_b", "cosine"], orient="row")
    )
    note = "" if len(alike) > 1 else "Choose a second vector to see the cosine between the two."
    job.report(result=ViewResult(drawings, note=note))


def draw_propagation(
    workspace: Workspace, choices: tuple[SteeringChoice, ...], job: Job
) -> Iterator[None]:
    """Draw how the first vector's injection changes the layers after it."""
    choice = choices[0]
    layer = choice.layers[0]
    name = make_label(choice.source.name)
    vector = workspace.get_vector(choice.source, job)
    yield
    coefficient = measure_injection(workspace, choice, layer)
    prompts = list(workspace.get_prompts(choice.source))[:MAX_PROPAGATION_PROMPTS]
    random = [vector.like_random(draw) for draw in range(N_RANDOM)]
    frames, drawings = [], {}
    for draw, added in enumerate([vector, *random]):
        job.report(f"Measuring {'a random direction' if draw else name}")
        measured = propagate(
            workspace.model,
            prompts,
            added.at(layer),
            [coefficient],
            fitted=vector if vector.card.component == "resid_post" else None,
            positions=choice.positions,
        )
        frames.append(
            measured.records().with_columns(
                pl.lit(name).alias("instruction"),
                pl.lit("random" if draw else "vector").alias("setting"),
                pl.lit(draw).alias("draw"),
                pl.lit(coefficient).alias("strength"),
            )
        )
        if not draw:
            drawings["lens_after"] = figures.lens_tokens(measured.tokens(workspace.model, TOP))
        yield
    curves = average_over_prompts(pl.concat(frames), seed=0).drop("strength")
    setting = f"Addition of length {coefficient:.3g} at layer {layer}, on {len(prompts)} prompts."
    for figure, (quantity, title, about) in CURVES.items():
        rows = curves.filter(pl.col("quantity") == quantity)
        if len(rows):
            drawings[figure] = figures.layer_quantity(rows, title, about=f"{about} {setting}")
    note = ""
    if choice.operation is Operation.TURN:
        note = "A turn adds the vector and restores the norm; the figures show the addition alone."
    elif choice.operation is not Operation.ADD:
        note = (
            f"The length that a {OPERATION_NOUNS[choice.operation]} adds differs between "
            f"activations; the figures show the addition of the mean length, {coefficient:.3g}."
        )
    if len(choice.layers) > 1:
        note += f" The figures show the injection at the first steered layer, {layer}."
    job.report("", ViewResult(drawings, note=note.strip()))


OPERATION_NOUNS = {Operation.PROJECT: "projection", Operation.ABLATE: "ablation"}


def measure_injection(workspace: Workspace, choice: SteeringChoice, layer: int) -> float:
    """Return the length that a choice adds at a layer, averaged over prompts without the property.

    Raises:
        ExplorerError: if the vector has no baseline, or the length is 0.
    """
    vector, edit = workspace.get_vector(choice.source), workspace.make_edit(choice, layer).edits[0]
    length = edit.value
    if choice.operation.sets_projection:
        if vector.baseline is None:
            raise ExplorerError(
                f"{vector.name} has no baseline, so that the length that a "
                f"{OPERATION_NOUNS[choice.operation]} adds is unknown; choose the operation Add."
            )
        row = vector.layers.index(layer)
        baseline = float((vector.baseline[row].double() * edit.direction.unit.double()).sum())
        length = edit.value - baseline
    if length == 0:
        raise ExplorerError("The added length is 0; choose another strength.")
    return length


def draw_card(
    workspace: Workspace, choices: tuple[SteeringChoice, ...], job: Job
) -> Iterator[None]:
    """Draw the first vector's norm at each layer, and list how the vector was fitted."""
    source = choices[0].source
    vector = workspace.get_vector(source, job)
    yield
    job.report(result=ViewResult({"norms": _draw_norms(vector)}, list_facts(vector)))


def list_facts(vector: ist.SteeringVector) -> tuple[tuple[str, str], ...]:
    """Return the entries of a vector's card as (name, value)."""
    about = vector.card
    facts = {
        "property": about.name,
        "model": str(about.identity),
        "revision": about.revision,
        "fitted at": f"{about.component}, {about.position}",
        "estimator": about.estimator.replace("_", " "),
        "pairs": str(about.n),
        "data": about.data_hash[:12],
        "weights": about.fingerprint[:12],
        "versions": ", ".join(f"{name} {version}" for name, version in about.versions.items()),
        "reliability": None if about.reliability is None else str(about.reliability),
    }
    return tuple((name, value) for name, value in facts.items() if value)


def _draw_norms(vector: ist.SteeringVector) -> Drawing:
    return figures.vector_norms(
        vector.layers,
        vector.norms.tolist(),
        None if vector.targets is None else vector.targets.tolist(),
        n=vector.card.n,
        name=vector.name,
    )


VIEWS: Mapping[str, View] = {
    "propagation": draw_propagation,
    "lens": draw_lens,
    "cosines": draw_cosines,
    "card": draw_card,
}
"""Views that are drawn when the user opens them."""
