"""What is left of a steered property while a long answer is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import polars as pl

import interp_steer as ist
from analyses.kit.operations import Steerer
from interp_steer.statistics.intervals import Interval, bootstrap_mean

READING = "reading"
"""The name under which the residual stream is read and nothing is done to it."""

WINDOW = 8
"""Steps whose mean is drawn: single tokens differ in what they are before they drift."""


def by_step(
    model: ist.HookedLM,
    vector: ist.SteeringVector,
    prompts: Sequence[str],
    asked: Sequence[str],
    *,
    operation: str,
    layer: int,
    read_layer: int,
    max_new_tokens: int,
    seed: int,
) -> pl.DataFrame:
    """The projection on the property's direction at each token of answers in four settings.

    Args:
        model: that answers.
        vector: of the property.
        prompts: requests without the instruction, answered unsteered, under the vector, and under
            a random direction that acts as strongly.
        asked: the same requests with the instruction in words, answered unsteered.
        operation: see :class:`analyses.kit.operations.SteeringSpec`.
        layer: where the vector acts.
        read_layer: where the projection is read, on the vector fitted there.
        max_new_tokens: where answers are cut.
        seed: of the random direction.

    Returns:
        A row for each token: ``setting``, ``query``, ``step``, ``scaled_projection`` (0 and 1 are
        the means of the fitted prompts without and with the instruction) and ``kl`` (from the
        prediction without steering, in nats).
    """
    steerer = Steerer({"last": ist.StrengthCalibrator(model, vector, prompts)})
    random = partial(ist.SteeringVector.like_random, seed=seed)
    settings = {
        "none": (prompts, ist.unsteered),
        "random": (prompts, steerer.steering(layer, operation, random)),
        "steered": (prompts, steerer.steering(layer, operation)),
        "instruction": (asked, ist.unsteered),
    }
    named = replace(vector, card=replace(vector.card, name=READING))
    reading = named.at(read_layer).add(0.0)
    at = vector.layers.index(read_layer)
    assert vector.baseline is not None  # a difference in means has one
    length = float(vector.norms[at])
    zero = float(vector.baseline[at].double() @ vector.unit[at].double())
    frames = []
    for setting, (texts, steering) in settings.items():
        said = [
            answer.tokens
            for answer in ist.generate(model, texts, steering, max_new_tokens=max_new_tokens)
        ]
        for query, trace in enumerate(ist.trace(model, texts, said, steering + reading)):
            read = trace.projection[trace.properties.index(READING)].double()
            frames.append(
                pl.DataFrame(
                    {
                        "setting": setting,
                        "query": query,
                        "step": range(len(trace.tokens)),
                        "scaled_projection": ((read - zero) / length).tolist(),
                        "kl": trace.kl.double().tolist(),
                    }
                )
            )
    return pl.concat(frames)


def smoothed(steps: pl.DataFrame) -> pl.DataFrame:
    """Means over :data:`WINDOW` steps of an answer, at the last of them; step 0 stands alone.

    Args:
        steps: of :func:`by_step`, of one instruction.
    """
    of = ["setting", "query", "step"]
    window = (pl.col("step") + WINDOW - 1) // WINDOW * WINDOW
    means = steps.with_columns(window.alias("step")).group_by(*of, maintain_order=True)
    return means.agg(pl.col("scaled_projection", "kl").mean())


def change(steps: pl.DataFrame, setting: str, seed: int) -> Interval:
    """How far the scaled projection moves from the first to the last third of an answer's steps.

    Within answers, so that it does not matter which of them are long; of three steps or more.

    Args:
        steps: of :func:`by_step`, with the column ``instruction``.
        setting: whose.
        seed: of the bootstrap of the queries.
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
    moved = (thirds["last"] - thirds["first"]).to_list()
    return bootstrap_mean(moved, thirds.select(pl.format("{}/{}", *of)).to_series(), seed=seed)
