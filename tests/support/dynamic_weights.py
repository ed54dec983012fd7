"""Stepped vectors, schedules, and dynamic weights computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from interp_steer.generation.completions import GenerationOptions, generate
from interp_steer.interventions import schedules
from interp_steer.interventions.intervention import Intervention, unsteered
from interp_steer.interventions.schedules import Dynamic, diminishing, exponential, start
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.identity import ModelIdentity
from interp_steer.vectors.card import Card
from interp_steer.vectors.stepped_vector import SteppedVector

on_three = pytest.mark.parametrize("model", ["llama3", "gemma2", "gpt2"], indirect=True)


STEPS = 6


SCALES = {"llama": 0.1, "mistral": 0.1, "qwen2": 0.1, "gemma2": 0.4, "gpt2": 1.0}
"""By architecture: how long a direction must be for a probe to say other things than the model,
without drowning it."""


def random_steps(
    model: HookedLM, name: str = "italian", seed: int = 1, steps: int = STEPS, scale: float = 1.0
) -> SteppedVector:
    """Directions at ``z`` for every step, layer and head."""
    [often] = [scale for known, scale in SCALES.items() if known in model.name]
    shape = (steps, model.n_layers, model.n_heads, model.d_head)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return SteppedVector(
        directions=drawn * often * scale,
        counts=torch.full((2, steps), 3),
        layers=tuple(range(model.n_layers)),
        card=Card(
            name=name,
            identity=ModelIdentity.of(model),
            component="z",
            position="generated",
            estimator="difference_in_means",
            n=3,
            data_hash=name,
        ),
    )


def every_schedule(model: HookedLM) -> dict[str, Intervention]:
    """An intervention for each kind of schedule, and mixtures of properties."""
    one, other = random_steps(model), random_steps(model, "formal", seed=2, steps=4)
    by_name = {
        "unsteered": unsteered,
        "fixed": one.shift(1.2),
        "start": one.shift(1.5, start),
        "diminishing": one.shift(1.5, diminishing(5)),
        "exponential": one.shift(1.4, exponential(0.7)),
        "any": one.shift(1.0, schedules.of(lambda i: (-1.0) ** i, STEPS)),
        "dynamic": one.shift(1.0, Dynamic()),
        "dynamic, mean": one.shift(2.0, Dynamic(0.8, probe=1.5, most=3.0, reduction="mean")),
        "two dynamic": one.shift(1.0, Dynamic()) + other.shift(1.5, Dynamic(0.7)),
        "dynamic and static": other.shift(1.0, diminishing(4)) + one.shift(1.0, Dynamic()),
    }
    return by_name


def tokens(
    model: HookedLM,
    prompts: Sequence[Any],
    steering: Any,
    *,
    use_cache: bool = True,
    through: Any = None,
    **keywords: Any,
) -> list[Any]:
    options = GenerationOptions(use_cache=use_cache, through=through)
    found = generate(model, prompts, steering, max_new_tokens=STEPS, options=options, **keywords)
    return [completion.tokens for completion in found]


# ---------------------------------------------------------------------------- the reference
Weighted = tuple[SteppedVector, list[float]]
"""A vector, and its weight at each step so far."""


def next_logits(model: HookedLM, ids: list[int], n_prompt: int, acting: list[Weighted]) -> Tensor:
    """What comes next, by TransformerLens alone: nothing kept from one step to the next."""

    def writes(layer: int) -> Callable[..., Tensor]:
        def write(z: Tensor, hook: Any = None) -> Tensor:
            z = z.clone()
            for vector, weights in acting:
                for step, weight in enumerate(weights):
                    if step < vector.n_steps:
                        added = weight * vector.directions[step, layer]
                        z[0, n_prompt - 1 + step] += added.reshape(z.shape[2:])
            return z

        return write

    hooks = [(f"blocks.{layer}.attn.hook_z", writes(layer)) for layer in range(model.n_layers)]
    with torch.inference_mode():
        return model.bridge.run_with_hooks(torch.tensor([ids]), fwd_hooks=hooks)[0, -1]


def by_hand(
    model: HookedLM,
    prompt: list[int],
    properties: Sequence[tuple[SteppedVector, float, Dynamic]],
    always: SteppedVector | None = None,
    n: int = STEPS,
) -> tuple[tuple[int, ...], list[list[float]], list[list[float]]]:
    """The algorithm of Scalena, Sarti and Nissim (2024), section 3, a pass for everything.

    Args:
        model: the model.
        prompt: its tokens.
        properties: vectors, coefficients and what their weights follow.
        always: added with weight 1 whatever is probed.
        n: how many tokens.

    Returns:
        The tokens, and for each property its weights and divergences.
    """
    ids, found, apart = list(prompt), [[] for _ in properties], [[] for _ in properties]
    for step in range(n):
        fixed_part = [] if always is None else [(always, [1.0] * (step + 1))]
        clean = next_logits(model, ids, len(prompt), fixed_part)
        for number, (vector, coefficient, schedule) in enumerate(properties):
            probing = (vector, [coefficient * schedule.probe] * (step + 1))
            probe = next_logits(model, ids, len(prompt), [*fixed_part, probing])
            kl = float(schedule.divergence(clean, probe))
            apart[number].append(kl)
            found[number].append(min(max(kl, 0.0), schedule.most))
        realised = [
            (vector, [coefficient * weight for weight in weights])
            for (vector, coefficient, _), weights in zip(properties, found, strict=True)
        ]
        said = next_logits(model, ids, len(prompt), [*fixed_part, *realised])
        ids.append(int(said.argmax()))
    return tuple(ids[len(prompt) :]), found, apart
