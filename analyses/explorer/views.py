"""What the page shows beside the answers: figures of the vectors, and of what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

import figures
import interp_steer as ist
from analyses.explorer.form import Steer
from analyses.explorer.jobs import ExplorerError, Job
from analyses.explorer.workspace import Workspace, label
from analyses.geometry.propagation import CURVES, over_prompts
from figures.style.drawing import Drawing
from interp_steer.geometry.cosines import cosine_map, vocabulary
from interp_steer.geometry.propagation import propagate
from interp_steer.interventions.operations import Operation
from interp_steer.vectors.algebra import inner_product

MOST_FOLLOWED = 12
"""Prompts that an injection is followed on."""

N_RANDOM = 2
"""Random directions that are followed beside it."""

TOP = 8
"""Tokens that the logit lens lists."""


@dataclass(frozen=True)
class Seen:
    """What a view has found: drawings by name, and facts in words."""

    drawings: Mapping[str, Drawing]
    facts: tuple[tuple[str, str], ...] = ()
    note: str = ""


View = Callable[[Workspace, tuple[Steer, ...], Job], Iterator[None]]


def lens(shelf: Workspace, steers: tuple[Steer, ...], job: Job) -> Iterator[None]:
    """What the head reads in the first vector, at each of its layers."""
    source = steers[0].source
    vector = shelf.vector(source, job)
    yield
    tokens = vocabulary(shelf.model, vector, TOP)
    name = label(source.name)
    job.tell(
        found=Seen(
            {
                "lens_raised": figures.layer_tokens(tokens, name, "raised"),
                "lens_lowered": figures.layer_tokens(tokens, name, "lowered"),
            }
        )
    )


def cosines(shelf: Workspace, steers: tuple[Steer, ...], job: Job) -> Iterator[None]:
    """How alike the vectors are that are chosen or were fitted, and each layer's to the others."""
    source = steers[0].source
    wanted = [steer.source for steer in steers]
    for one in wanted:
        shelf.vector(one, job)
        yield
    first = shelf.vector(source)
    sources = list(dict.fromkeys([*wanted, *shelf.fitted_like(source)]))
    vectors = {one: shelf.vector(one) for one in sources}
    alike = {
        one: vector
        for one, vector in vectors.items()
        if (vector.layers, vector.card.component) == (first.layers, first.card.component)
    }
    layer = steers[0].layers[0]
    drawings = {}
    if len(alike) > 1:
        names = [label(one.name) for one in alike]
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
    note = "" if len(alike) > 1 else "Choose a second vector to see how alike the two are."
    job.tell(found=Seen(drawings, note=note))


def propagation(shelf: Workspace, steers: tuple[Steer, ...], job: Job) -> Iterator[None]:
    """What becomes of the first vector's injection in the layers after it."""
    steer = steers[0]
    layer = steer.layers[0]
    vector = shelf.vector(steer.source, job)
    yield
    coefficient = injected(shelf, steer, layer)
    prompts = list(shelf.prompts(steer.source))[:MOST_FOLLOWED]
    random = [vector.like_random(draw) for draw in range(N_RANDOM)]
    frames, drawings = [], {}
    for draw, added in enumerate([vector, *random]):
        job.tell(f"Following {'a random direction' if draw else label(steer.source.name)}")
        found = propagate(
            shelf.model,
            prompts,
            added.at(layer),
            [coefficient],
            fitted=vector if vector.card.component == "resid_post" else None,
            positions=steer.positions,
        )
        frames.append(
            found.records().with_columns(
                pl.lit(label(steer.source.name)).alias("instruction"),
                pl.lit("random" if draw else "vector").alias("setting"),
                pl.lit(draw).alias("draw"),
                pl.lit(coefficient).alias("strength"),
            )
        )
        if not draw:
            drawings["lens_after"] = figures.lens_tokens(found.tokens(shelf.model, TOP))
        yield
    curves = over_prompts(pl.concat(frames), seed=0).drop("strength")
    said = f"An addition of length {coefficient:.3g} at layer {layer}, on {len(prompts)} prompts."
    for name, (quantity, title, about) in CURVES.items():
        rows = curves.filter(pl.col("quantity") == quantity)
        if len(rows):
            drawings[name] = figures.layer_quantity(rows, title, about=f"{about} {said}")
    note = ""
    if steer.operation is Operation.TURN:
        note = "A turn takes the length away again; followed is the addition that it begins with."
    elif steer.operation is not Operation.ADD:
        note = (
            f"A {NOUNS[steer.operation]} adds another length to each activation; followed is an "
            f"addition of {coefficient:.3g}, what it adds in the mean."
        )
    if len(steer.layers) > 1:
        note += f" Of the layers that are steered the first, {layer}, is followed."
    job.tell("", Seen(drawings, note=note.strip()))


NOUNS = {Operation.PROJECT: "projection", Operation.ABLATE: "ablation"}


def injected(shelf: Workspace, steer: Steer, layer: int) -> float:
    """The length that a choice adds at a layer, in the mean over prompts without the property.

    Raises:
        ExplorerError: where that is not known, or nothing.
    """
    vector, edit = shelf.vector(steer.source), shelf.edit(steer, layer).edits[0]
    length = edit.value
    if steer.operation.sets_projection:
        if vector.baseline is None:
            raise ExplorerError(
                f"{vector.name} has no baseline, so that it is not known how far a "
                f"{NOUNS[steer.operation]} moves activations; follow an addition."
            )
        row = vector.layers.index(layer)
        baseline = float((vector.baseline[row].double() * edit.direction.unit.double()).sum())
        length = edit.value - baseline
    if length == 0:
        raise ExplorerError("Nothing is added, so that there is nothing to follow.")
    return length


def card(shelf: Workspace, steers: tuple[Steer, ...], job: Job) -> Iterator[None]:
    """Where the first vector comes from, and how long it is at each layer."""
    source = steers[0].source
    vector = shelf.vector(source, job)
    yield
    job.tell(found=Seen({"norms": _norms(vector)}, facts_of(vector)))


def facts_of(vector: ist.SteeringVector) -> tuple[tuple[str, str], ...]:
    """A vector's card, a line each."""
    about = vector.card
    found = {
        "stands for": about.name,
        "model": str(about.identity),
        "revision": about.revision,
        "read at": f"{about.component}, {about.position}",
        "estimator": about.estimator.replace("_", " "),
        "pairs": str(about.n),
        "data": about.data_hash[:12],
        "weights": about.fingerprint[:12],
        "made with": ", ".join(f"{name} {is_}" for name, is_ in about.versions.items()),
        "how sure": None if about.reliability is None else str(about.reliability),
    }
    return tuple((name, said) for name, said in found.items() if said)


def _norms(vector: ist.SteeringVector) -> Drawing:
    return figures.vector_norms(
        vector.layers,
        vector.norms.tolist(),
        None if vector.targets is None else vector.targets.tolist(),
        n=vector.card.n,
        name=vector.name,
    )


VIEWS: Mapping[str, View] = {
    "propagation": propagation,
    "lens": lens,
    "cosines": cosines,
    "card": card,
}
"""The views that are drawn when they are looked at."""
