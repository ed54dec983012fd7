"""Make records like those of a sweep, drawn from known rates, for figures and reports."""

from __future__ import annotations

import random
from collections.abc import Mapping

import polars as pl

INSTRUCTIONS = (
    "change_case:english_lowercase",
    "detectable_format:title",
    "punctuation:no_comma",
    "startend:quotation",
    "language:response_language",
)

RATES = {"none": 0.1, "random": 0.08, "steered": 0.7, "instruction": 0.6, "both": 0.85}
"""How often each setting follows its instruction."""


def _row(rng: random.Random, name: str, setting: str, layer: int | None, i: int, rate: float):
    return {
        "instruction": name,
        "setting": setting,
        "instructed": setting in ("instruction", "both"),
        "layer": layer,
        "seed": None,
        "applied": "unsteered" if layer is None else f"project({name}@resid_post.{layer})",
        "key": f"{name}/{i}",
        "phrasing": "held-out",
        "query": f"Tell me about castle {i}.",
        "prompt": f"Q: Tell me about castle {i}.\nA:",
        "answer": f"castle {i} stands on a hill & <b>looks</b> over the river.",
        "finish_reason": "length" if i == 0 else "stop",
        "n_tokens": 14,
        "strict": rng.random() < rate,
        "loose": rng.random() < min(rate + 0.05, 1),
        "perplexity": rng.uniform(2, 20),
        "degenerate": rng.random() < 0.05,
    }


def settings_records(
    instructions: int = 3, prompts: int = 24, rates: Mapping[str, float] = RATES, seed: int = 0
) -> pl.DataFrame:
    """Return a record per instruction, prompt and setting; all instructions share their queries."""
    rng = random.Random(seed)
    rows = [
        _row(rng, name, setting, None if setting in ("none", "instruction") else 4, i, rate)
        for name in INSTRUCTIONS[:instructions]
        for i in range(prompts)
        for setting, rate in rates.items()
    ]
    return pl.DataFrame(rows, schema_overrides={"layer": pl.Int64, "seed": pl.Int64})


def sweep_records(instructions: int = 1, layers: int = 6, prompts: int = 16) -> pl.DataFrame:
    """Return a record per instruction, prompt and layer, best in the middle, and controls."""
    rng = random.Random(0)
    rows = []
    for name in INSTRUCTIONS[:instructions]:
        for i in range(prompts):
            rows.append(_row(rng, name, "none", None, i, 0.1))
            for layer in range(layers):
                rate = 0.9 - 0.3 * abs(layer - layers // 2)
                rows.append(_row(rng, name, "steered", layer, i, max(rate, 0.05)))
                rows.append(_row(rng, name, "random", layer, i, 0.1))
    return pl.DataFrame(rows, schema_overrides={"layer": pl.Int64, "seed": pl.Int64})


def settings_frame() -> pl.DataFrame:
    """Return eight prompts unsteered, and under four settings of known accuracy and divergence."""
    outcomes = {
        ("project", 2): (0.5, 6),
        ("project", 5): (2.0, 4),  # beaten at less divergence
        ("add:2", 2): (0.1, 5),
        ("add:2", 5): (0.02, 1),
    }
    rows = [
        {"operation": None, "layer": None, "kl": 0.0, "strict": n < 1, "query": f"q{n}"}
        for n in range(8)
    ]
    rows += [
        {"operation": operation, "layer": layer, "kl": kl, "strict": n < hits, "query": f"q{n}"}
        for (operation, layer), (kl, hits) in outcomes.items()
        for n in range(8)
    ]
    return pl.DataFrame(rows).with_columns(pl.lit(None, dtype=pl.Float64).alias("strength"))


def weights_frame(judged: bool = True) -> pl.DataFrame:
    rows = [
        {
            "instruction": "exclusion",
            "instructed": instructed,
            "strength": -weight,
            "query": f"q{n}",
            "strict": n < 4 + 2 * weight,
            "quality": 0.9 - 0.1 * weight if judged and n else None,
        }
        for instructed in (False, True)
        for weight in (0.0, 1.0, 3.0)
        for n in range(10)
    ]
    return pl.DataFrame(rows, schema_overrides={"quality": pl.Float64})


def radar_frame() -> pl.DataFrame:
    """Return four instructions and ten prompts of known accuracy in each setting, and a control."""
    hits = {
        "case:low": (0, 9, 5, 10),
        "format:title": (0, 0, 5, 5),
        "end:phrase": (1, 4, 6, 8),
        "marks:comma": (2, 1, 9, 9),
    }
    rows = [
        {"instruction": name, "setting": setting, "query": f"q{n}", "strict": n < count}
        for name, counts in hits.items()
        for setting, count in zip(("none", "steered", "instruction", "both"), counts, strict=True)
        for n in range(10)
    ]
    rows += [
        {"instruction": name, "setting": "random", "query": "q0", "strict": True} for name in hits
    ]
    return pl.DataFrame(rows)


def filter_records(records: pl.DataFrame, **values: str) -> pl.DataFrame:
    return records.filter(pl.col(name) == value for name, value in values.items())
