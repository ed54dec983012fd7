"""Measure how the projection on a property's direction changes while a long answer is generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

import interp_steer as ist
from analyses.kit.operations import Steerer
from interp_steer.statistics import Interval, bootstrap_mean

READING = "reading"
"""Name of a direction that is read and not steered along."""

WINDOW = 8
"""Steps that a figure averages, because single tokens differ more than the projection drifts."""

DRIFT = {
    "none": "unsteered",
    "random": "steered along a random direction",
    "steered": "steered along the vector",
    "instruction": "with the instruction in the prompt",
}
"""Settings of long answers, with their names in captions."""


@dataclass(frozen=True)
class DriftSettings:
    """Settings for steering and reading long answers."""

    operation: str
    """See :class:`analyses.kit.operations.SteeringSpec`."""
    layer: int
    """Layer at which the vector acts."""
    read_layer: int
    """Layer at which the projection is read, on the vector fitted there."""
    max_new_tokens: int
    """Maximum number of new tokens of an answer."""
    seed: int
    """Seed of the random direction."""


def read_steps(
    model: ist.HookedLM,
    vector: ist.SteeringVector,
    plain: Sequence[str],
    instructed: Sequence[str],
    settings: DriftSettings,
) -> pl.DataFrame:
    """Return the projection on the property's direction at each token of answers in four settings.

    Args:
        model: the model that answers.
        vector: the vector of the property.
        plain: requests without the instruction, answered unsteered, steered along the vector, and
            steered along a random direction of the same norm.
        instructed: the same requests with the instruction, answered unsteered.
        settings: how answers are steered and read.

    Returns:
        A row for each token: ``setting``, ``query``, ``step``, ``scaled_projection`` (0 and 1 are
        the means of the fitted prompts without and with the instruction) and ``kl`` (from the
        prediction without steering, in nats).
    """
    steerer = Steerer({"last": ist.StrengthCalibrator(model, vector, plain)})
    random = partial(ist.SteeringVector.like_random, seed=settings.seed)
    layer, operation, read_layer = settings.layer, settings.operation, settings.read_layer
    cases = {
        "none": (plain, ist.unsteered),
        "random": (plain, steerer.steering(layer, operation, random)),
        "steered": (plain, steerer.steering(layer, operation)),
        "instruction": (instructed, ist.unsteered),
    }
    named = replace(vector, card=replace(vector.card, name=READING))
    reading = named.at(read_layer).add(0.0)
    at = vector.layers.index(read_layer)
    assert vector.baseline is not None  # a difference in means has one
    length = float(vector.norms[at])
    zero = float(vector.baseline[at].double() @ vector.unit[at].double())
    frames = []
    for setting, (texts, steering) in cases.items():
        completions = ist.generate(model, texts, steering, max_new_tokens=settings.max_new_tokens)
        answers = [completion.tokens for completion in completions]
        for query, trace in enumerate(ist.trace(model, texts, answers, steering + reading)):
            projection = trace.projection[trace.properties.index(READING)].double()
            frames.append(
                pl.DataFrame(
                    {
                        "setting": setting,
                        "query": query,
                        "step": range(len(trace.tokens)),
                        "scaled_projection": ((projection - zero) / length).tolist(),
                        "kl": trace.kl.double().tolist(),
                    }
                )
            )
    return pl.concat(frames)


def smooth(steps: pl.DataFrame) -> pl.DataFrame:
    """Average over :data:`WINDOW` steps of an answer, placed at the last step; step 0 is kept.

    Args:
        steps: the rows of :func:`read_steps`, of one instruction.
    """
    of = ["setting", "query", "step"]
    window = (pl.col("step") + WINDOW - 1) // WINDOW * WINDOW
    means = steps.with_columns(window.alias("step")).group_by(*of, maintain_order=True)
    return means.agg(pl.col("scaled_projection", "kl").mean())


def measure_drift(steps: pl.DataFrame, setting: str, seed: int) -> Interval:
    """Return the change of the scaled projection from the first to the last third of an answer.

    The change is computed within each answer of three steps or more, so that long answers do not
    weigh more than short ones.

    Args:
        steps: the rows of :func:`read_steps`, with the column ``instruction``.
        setting: the setting whose answers are measured.
        seed: seed of the bootstrap over queries.
    """
    of = ["instruction", "query"]
    third = pl.col("step") * 3 // pl.len().over(of)
    thirds = (
        steps.filter(pl.col("setting") == setting)
        .with_columns(third.alias("third"))
        .group_by(*of, maintain_order=True)
        .agg(
            pl.col("scaled_projection").filter(pl.col("third") == 0).mean().alias("first"),
            pl.col("scaled_projection").filter(pl.col("third") == 2).mean().alias("last"),
        )
        .drop_nulls()
    )
    changes = (thirds["last"] - thirds["first"]).to_list()
    return bootstrap_mean(changes, thirds.select(pl.format("{}/{}", *of)).to_series(), seed=seed)
