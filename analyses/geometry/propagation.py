"""What becomes of a vector that is added at a layer: how far it lasts, turns, grows, and is read.

A vector is added to the residual stream at one layer, at strengths in units of the stream's length
there, and the same tokens are run with and without it. At each later layer: which share of the
addition is left along its own direction, how far the change has turned from it and towards the
vector that was fitted there, how much longer the residual stream is, and how far the prediction of
the logit lens has moved. Random directions of the same norm are followed beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.kit.instruction_sets import contrast_sets
from interp_steer.geometry.propagation import QUANTITIES, Propagation, PropagationOptions, propagate
from interp_steer.statistics.intervals import Interval, bootstrap_mean

CURVES = {
    "survival": (
        "survival",
        "surviving share",
        "Share of the addition that is left along its own direction.",
    ),
    "rotation": (
        "to_added",
        "cosine with the addition",
        "Cosine of the change of the residual stream with what was added.",
    ),
    "toward_fitted": (
        "to_fitted",
        "cosine with the layer's vector",
        "Cosine of the change of the residual stream with the vector that was fitted at the layer.",
    ),
    "inflation": (
        "inflation",
        "relative length",
        "Length of the residual stream beside its length without the addition.",
    ),
    "lens_kl": (
        "kl",
        "KL of the lens (nats)",
        "Divergence of the logit lens' prediction from the one without the addition.",
    ),
}
"""What is drawn against the layer: its column, its axis and its caption."""


@dataclass(frozen=True)
class Config:
    """What is added, and where it is followed."""

    model: str = "burattino-instruct"
    """A bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = (
        "change_case:english_lowercase",
        "detectable_format:title",
        "punctuation:no_comma",
    )
    """IFEval ids of the instructions whose vectors are followed."""
    layer: int | None = None
    """Layer at which they are added; a quarter up the model when not given."""
    strength: tuple[float, ...] = (0.1, 0.3, 1.0)
    """How much is added, in units of the residual stream's length at that layer."""
    positions: str = "all"
    """Where in the text they are added: all, prompt, generated or last."""
    answer_tokens: int = 0
    """Tokens of the unsteered answers along which changes are read; 0 for the last token of the
    prompt alone."""
    threshold: float = 0.5
    """The vector counts as erased where less than this share of it survives."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 24
    """Prompts that the residual stream's length is measured on."""
    n_test: int = 24
    """Prompts without the instruction on which the vectors are followed."""
    n_random: int = 3
    """Random directions of the same norm that are followed beside each vector."""
    top: int = 8
    """Tokens of the lens listed on either side."""
    batch_size: int = 16
    """Prompts run together."""


def main(config: Config, run: ist.Run) -> None:
    """Fit, add, follow; then average over prompts."""
    model = ist.load(config.model)
    layer = model.n_layers // 4 if config.layer is None else config.layer
    run.used(model)
    sets = contrast_sets(
        config.instruction,
        run.seed,
        fit=config.n_fit,
        select=config.n_select,
        test=config.n_test,
    )
    frames, tokens, erased = [], [], []
    for name, pairs in tqdm(sets.items(), desc="propagation", unit="instruction", disable=None):
        run.used(pairs)
        vector = ist.fit(
            model, pairs.fit, options=ist.capture.CaptureOptions(checkpoint=run.partial)
        )
        run.leave(vector, name=name)
        gauge = ist.StrengthCalibrator(model, vector, pairs.select.absent)
        prompts = pairs.test.absent
        answers = _answers(model, prompts, config)
        random = [vector.like_random(run.seed + draw) for draw in range(config.n_random)]
        for draw, added in enumerate([vector, *random]):
            found = propagate(
                model,
                prompts,
                added.at(layer),
                [
                    gauge.coefficient(layer, ist.Strength(amount, "residual"))
                    for amount in config.strength
                ],
                answers=answers,
                fitted=vector,
                positions=config.positions,
                options=PropagationOptions(batch_size=config.batch_size),
            )
            told = [
                pl.lit(name).alias("instruction"),
                pl.lit("random" if draw else "vector").alias("setting"),
                pl.lit(draw).alias("draw"),
            ]
            for kept, frame in (
                (frames, found.records()),
                (tokens, found.tokens(model, config.top)),
                (erased, _erased(found, config.threshold)),
            ):
                kept.append(_by_strength(frame, found, config).with_columns(told))
    records, lens = pl.concat(frames), pl.concat(tokens)
    run.write_records(records)
    run.write_records(lens, "lens_tokens")
    curves = over_prompts(records, run.seed)
    run.write_records(curves, "curves")
    run.write_records(pl.concat(erased), "erased")
    _leave(run, records, pl.concat(erased))
    run.leave(summary={"layer": layer, "instructions": len(config.instruction)})

    for figure, (quantity, title, about) in CURVES.items():
        rows = curves.filter(pl.col("quantity") == quantity)
        run.draw(
            figure, figures.layer_quantity(rows, title, about=f"{about} {_added(config, layer)}")
        )
    drawn = lens.filter(
        (pl.col("draw") == 0)
        & (pl.col("instruction") == config.instruction[0])
        & (pl.col("strength") == max(config.strength))
    )
    run.draw("lens_tokens", figures.lens_tokens(drawn))


def over_prompts(records: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Each quantity in the mean over prompts, random directions of a prompt being resampled
    together."""
    rows = []
    for (name, setting, strength, layer), each in records.group_by(
        "instruction", "setting", "strength", "layer", maintain_order=True
    ):
        for quantity in QUANTITIES:
            known = each.drop_nulls(quantity)
            if len(known):
                mean = bootstrap_mean(
                    known[quantity].to_list(), known["prompt"].to_list(), seed=seed
                )
                rows.append(
                    (name, setting, strength, layer, quantity, mean.value, mean.low, mean.high)
                )
    columns = ["instruction", "setting", "strength", "layer", "quantity", "value", "low", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def _erased(found: Propagation, threshold: float) -> pl.DataFrame:
    """The first layer at which less than a share survives, for each prompt; null for none."""
    layers = found.erased(threshold).tolist()
    rows = [
        {"coefficient": coefficient, "prompt": prompt, "layer": None if layer < 0 else layer}
        for coefficient, by_prompt in zip(found.coefficients, layers, strict=True)
        for prompt, layer in enumerate(by_prompt)
    ]
    return pl.DataFrame(rows, schema_overrides={"layer": pl.Int64})


def _answers(
    model: ist.HookedLM, prompts: Sequence[ist.contrast.Prompt], config: Config
) -> list[tuple[int, ...]] | None:
    """The unsteered answers along which changes are read; None for the last token of a prompt."""
    if not config.answer_tokens:
        return None
    said = ist.generate(
        model, prompts, max_new_tokens=config.answer_tokens, batch_size=config.batch_size
    )
    return [tuple(completion.tokens) for completion in said]


def _by_strength(frame: pl.DataFrame, found: Propagation, config: Config) -> pl.DataFrame:
    """The frame with the strength that each coefficient stands for."""
    strengths = dict(zip(found.coefficients, config.strength, strict=True))
    told = [strengths[coefficient] for coefficient in frame["coefficient"].to_list()]
    return frame.with_columns(pl.Series("strength", told))


def _leave(run: ist.Run, records: pl.DataFrame, erased: pl.DataFrame) -> None:
    """The last layer's numbers over all instructions, and how many additions are erased, where."""
    last = records.filter(pl.col("layer") == records["layer"].max())
    for (setting, strength), rows in last.group_by("setting", "strength", maintain_order=True):
        for quantity in QUANTITIES:
            mean = _over_all(rows.drop_nulls(quantity), pl.col(quantity), run.seed)
            run.leave(summary={f"{quantity}.{setting}.{strength:g}": mean})
    for (setting, strength), rows in erased.group_by("setting", "strength", maintain_order=True):
        gone = _over_all(rows, pl.col("layer").is_not_null(), run.seed)
        run.leave(summary={f"erased.{setting}.{strength:g}": gone})
        if gone.value:
            where = _over_all(rows.drop_nulls("layer"), pl.col("layer"), run.seed)
            run.leave(summary={f"erased_at.{setting}.{strength:g}": where})


def _over_all(rows: pl.DataFrame, value: pl.Expr, seed: int) -> Interval:
    """A mean over instructions, prompts and draws, the draws of a prompt resampled together."""
    clusters = rows.select(pl.format("{}/{}", "instruction", "prompt")).to_series()
    values = rows.select(value.cast(pl.Float64)).to_series()
    return bootstrap_mean(values.to_list(), clusters.to_list(), seed=seed)


def _added(config: Config, layer: int) -> str:
    read = "along unsteered answers" if config.answer_tokens else "at the last token of the prompt"
    return (
        f"Added at layer {layer}, at strengths in units of the residual stream's length there; "
        f"read {read} of {config.n_test} held-out prompts; random directions have the same norm."
    )
