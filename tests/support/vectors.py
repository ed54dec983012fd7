"""Vectors with cards, made without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.identity import ModelIdentity
from interp_steer.vectors.card import Card
from interp_steer.vectors.steering_vector import SteeringVector
from interp_steer.vectors.stepped_vector import SteppedVector

HOSTILE = "</div><script>alert('x')</script><img src=x onerror=alert(1)> & \"'</b>\x00"


def card(**given: Any) -> Card:
    known = {
        "name": "english_lowercase", "model": "tiny", "fingerprint": "f" * 16, "n_layers": 4,
        "d_model": 6, "component": "resid_post", "position": "last",
        "estimator": "difference_in_means", "n": 64, "data_hash": "d" * 64, "versions": {},
    }  # fmt: skip
    return Card.from_flat(known | given)


def vector(**given: Any) -> SteeringVector:
    directions = torch.arange(1.0, 25.0).reshape(4, 6)
    return SteeringVector(
        directions, torch.tensor([-2.0, 0.0, 1.0, 3.0]), (0, 1, 2, 3), card(**given)
    )


def stepped(**given: Any) -> SteppedVector:
    directions = torch.ones(3, 2, 6) * torch.tensor([3.0, 2.0, 1.0])[:, None, None]
    counts = torch.tensor([[9, 8, 5], [9, 7, 6]])
    return SteppedVector(directions, counts, (1, 2), card(**given))


def vector_of(model: HookedLM, layers: Sequence[int] = (1, 2), seed: int = 0) -> SteeringVector:
    """A random direction per layer, long enough to change what a model says."""
    generator = torch.Generator().manual_seed(seed)
    directions = 4 * torch.randn(len(layers), model.d_model, generator=generator)
    card = Card(
        name="anything",
        identity=ModelIdentity.of(model),
        component="resid_post",
        position="last",
        estimator="random",
        n=1,
        data_hash="",
    )
    return SteeringVector(directions, torch.ones(len(layers)), tuple(layers), card)
