"""Measure how a vector that is added at one layer changes the later layers.

A vector is added to the residual stream at one layer, at strengths in units of the norm of the
residual stream at that layer, and the same tokens are run with and without the addition. Five
quantities are measured at each later layer:

- the share of the addition that survives along its own direction;
- the cosine of the change of the residual stream with the addition;
- the cosine of the change with the vector that was fitted at that layer;
- the norm of the residual stream, relative to its norm without the addition;
- the KL divergence of the logit lens' prediction from the prediction without the addition.

Random directions of the same norm are added for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from tqdm import tqdm

import figures
import interp_steer as ist
from analyses.kit.instruction_sets import contrast_sets
from interp_steer.geometry import QUANTITIES, Propagation, PropagationOptions, propagate
from interp_steer.statistics import Interval, bootstrap_mean

CURVES = {
    "survival": (
        "survival",
        "surviving share",
        "Share of the addition that survives along its own direction.",
    ),
    "rotation": (
        "to_added",
        "cosine with the addition",
        "Cosine of the change of the residual stream with the added vector.",
    ),
    "toward_fitted": (
        "to_fitted",
        "cosine with the layer's vector",
        "Cosine of the change of the residual stream with the vector fitted at the layer.",
    ),
    "inflation": (
        "inflation",
        "relative norm",
        "Norm of the residual stream divided by its norm without the addition.",
    ),
    "lens_kl": (
        "kl",
        "KL of the lens (nats)",
        "KL divergence of the logit lens' prediction from the prediction without the addition.",
    ),
}
"""Figures against the layer: the column, the axis title and the caption."""


@dataclass(frozen=True)
class Config:
    """The added vectors, and the prompts on which their propagation is measured."""

    model: str = "burattino-instruct"
    """Model to analyse: a bundled model, a Hugging Face name, or a folder."""
    instruction: tuple[str, ...] = (
        "change_case:english_lowercase",
        "detectable_format:title",
        "punctuation:no_comma",
    )
    """IFEval ids of the instructions whose vectors are added."""
    layer: int | None = None
    """Layer at which vectors are added. By default a quarter of the model's depth."""
    strength: tuple[float, ...] = (0.1, 0.3, 1.0)
    """Norms of the addition, in units of the residual stream's norm at that layer."""
    positions: str = "all"
    """Positions of the addition: all, prompt, generated or last."""
    answer_tokens: int = 0
    """Tokens of the unsteered answers at which changes are measured; 0 measures at the last token
    of the prompt only."""
    threshold: float = 0.5
    """An addition counts as erased at the first layer where a smaller share than this survives."""
    n_fit: int = 64
    """Pairs of prompts that each vector is fitted on."""
    n_select: int = 24
    """Prompts on which the residual stream's norm is measured."""
    n_test: int = 24
    """Prompts without the instruction to which the vectors are added."""
    n_random: int = 3
    """Random directions of the same norm that are added for comparison with each vector."""
    top: int = 8
    """Number of raised and of lowered tokens listed in the logit lens."""
    batch_size: int = 16
    """Prompts in one batch."""


def main(config: Config, run: ist.Run) -> None:
    """Fit each vector, add it at one layer, measure later layers, and average over prompts."""
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
    measured = [
        _measure_instruction(model, name, pairs, layer, config, run)
        for name, pairs in tqdm(sets.items(), desc="propagation", unit="instruction", disable=None)
    ]
    records, lens, erased = (pl.concat(frames) for frames in zip(*measured, strict=True))
    curves = average_over_prompts(records, run.seed)
    for frame, name in (
        (records, "records"),
        (lens, "lens_tokens"),
        (curves, "curves"),
        (erased, "erased"),
    ):
        run.write_records(frame, name)
    _leave_summary(run, records, erased)
    run.leave(summary={"layer": layer, "instructions": len(config.instruction)})
    _draw(run, curves, lens, layer, config)


def _measure_instruction(
    model: ist.HookedLM,
    name: str,
    pairs: ist.ContrastSet,
    layer: int,
    config: Config,
    run: ist.Run,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Add an instruction's vector, and random directions, at one layer.

    Returns:
        The quantities by layer and prompt, the tokens of the logit lens, and the layers of erasure.
    """
    run.used(pairs)
    vector = ist.fit(model, pairs.fit, options=ist.capture.CaptureOptions(checkpoint=run.partial))
    run.leave(vector, name=name)
    calibrator = ist.StrengthCalibrator(model, vector, pairs.select.absent)
    prompts = pairs.test.absent
    answers = _generate_answers(model, prompts, config)
    random = [vector.like_random(run.seed + draw) for draw in range(config.n_random)]
    frames = []
    for draw, added in enumerate([vector, *random]):
        propagation = propagate(
            model,
            prompts,
            added.at(layer),
            [
                calibrator.coefficient(layer, ist.Strength(amount, "residual"))
                for amount in config.strength
            ],
            answers=answers,
            fitted=vector,
            positions=config.positions,
            options=PropagationOptions(batch_size=config.batch_size),
        )
        columns = [
            pl.lit(name).alias("instruction"),
            pl.lit("random" if draw else "vector").alias("setting"),
            pl.lit(draw).alias("draw"),
        ]
        frames.append(
            [
                _add_strength(frame, propagation, config).with_columns(columns)
                for frame in (
                    propagation.records(),
                    propagation.tokens(model, config.top),
                    _tabulate_erasure(propagation, config.threshold),
                )
            ]
        )
    quantities, tokens, erased = (pl.concat(parts) for parts in zip(*frames, strict=True))
    return quantities, tokens, erased


def _draw(
    run: ist.Run, curves: pl.DataFrame, lens: pl.DataFrame, layer: int, config: Config
) -> None:
    """Draw each quantity against the layer, and the logit lens of the first instruction."""
    for figure, (quantity, title, about) in CURVES.items():
        rows = curves.filter(pl.col("quantity") == quantity)
        about = f"{about} {_describe_addition(config, layer)}"
        run.draw(figure, figures.layer_quantity(rows, title, about=about))
    rows = lens.filter(
        (pl.col("draw") == 0)
        & (pl.col("instruction") == config.instruction[0])
        & (pl.col("strength") == max(config.strength))
    )
    run.draw("lens_tokens", figures.lens_tokens(rows))


def average_over_prompts(records: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Average each quantity over prompts; the bootstrap resamples prompts, with all their draws."""
    rows = []
    for (name, setting, strength, layer), cell in records.group_by(
        "instruction", "setting", "strength", "layer", maintain_order=True
    ):
        for quantity in QUANTITIES:
            known = cell.drop_nulls(quantity)
            if len(known):
                mean = bootstrap_mean(
                    known[quantity].to_list(), known["prompt"].to_list(), seed=seed
                )
                rows.append(
                    (name, setting, strength, layer, quantity, mean.value, mean.low, mean.high)
                )
    columns = ["instruction", "setting", "strength", "layer", "quantity", "value", "low", "high"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def _tabulate_erasure(propagation: Propagation, threshold: float) -> pl.DataFrame:
    """Return the layer at which each addition is erased, for each prompt; null if at no layer."""
    layers = propagation.erased(threshold).tolist()
    rows = [
        {"coefficient": coefficient, "prompt": prompt, "layer": None if layer < 0 else layer}
        for coefficient, by_prompt in zip(propagation.coefficients, layers, strict=True)
        for prompt, layer in enumerate(by_prompt)
    ]
    return pl.DataFrame(rows, schema_overrides={"layer": pl.Int64})


def _generate_answers(
    model: ist.HookedLM, prompts: Sequence[ist.contrast.Prompt], config: Config
) -> list[tuple[int, ...]] | None:
    """Generate the unsteered answers at whose tokens changes are measured; None without tokens."""
    if not config.answer_tokens:
        return None
    completions = ist.generate(
        model, prompts, max_new_tokens=config.answer_tokens, batch_size=config.batch_size
    )
    return [tuple(completion.tokens) for completion in completions]


def _add_strength(frame: pl.DataFrame, propagation: Propagation, config: Config) -> pl.DataFrame:
    """Add the strength that each coefficient corresponds to."""
    strengths = dict(zip(propagation.coefficients, config.strength, strict=True))
    column = [strengths[coefficient] for coefficient in frame["coefficient"].to_list()]
    return frame.with_columns(pl.Series("strength", column))


def _leave_summary(run: ist.Run, records: pl.DataFrame, erased: pl.DataFrame) -> None:
    """Leave the last layer's numbers, the share of erased additions and the layers of erasure."""
    last = records.filter(pl.col("layer") == records["layer"].max())
    for (setting, strength), rows in last.group_by("setting", "strength", maintain_order=True):
        for quantity in QUANTITIES:
            mean = _average_over_all(rows.drop_nulls(quantity), pl.col(quantity), run.seed)
            run.leave(summary={f"{quantity}.{setting}.{strength:g}": mean})
    for (setting, strength), rows in erased.group_by("setting", "strength", maintain_order=True):
        gone = _average_over_all(rows, pl.col("layer").is_not_null(), run.seed)
        run.leave(summary={f"erased.{setting}.{strength:g}": gone})
        if gone.value:
            where = _average_over_all(rows.drop_nulls("layer"), pl.col("layer"), run.seed)
            run.leave(summary={f"erased_at.{setting}.{strength:g}": where})


def _average_over_all(rows: pl.DataFrame, value: pl.Expr, seed: int) -> Interval:
    """Average over instructions, prompts and draws; the bootstrap resamples prompts."""
    clusters = rows.select(pl.format("{}/{}", "instruction", "prompt")).to_series()
    values = rows.select(value.cast(pl.Float64)).to_series()
    return bootstrap_mean(values.to_list(), clusters.to_list(), seed=seed)


def _describe_addition(config: Config, layer: int) -> str:
    tokens = "at the tokens of unsteered answers" if config.answer_tokens else "at the last token"
    return (
        f"The vector is added at layer {layer}, at strengths in units of the residual stream's "
        f"norm at that layer, and measured {tokens} of {config.n_test} held-out prompts. Random "
        "directions have the same norm."
    )
