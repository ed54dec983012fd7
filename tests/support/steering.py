"""Prompts, directions and interventions that tests of generation steer with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import config as jaxtyping

from interp_steer.generation.completions import Completion, GenerationOptions, generate
from interp_steer.interventions.intervention import Direction, Intervention, unsteered
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import COMPONENTS, Site

PROMPTS = [
    "Tell me about the sea.",
    "List five things.",
    "Once upon a time a carpenter found a piece of wood that could talk; what did he carve of it?",
    "Sea?",
    "Do not use any commas, please! What is a whale, and what did it swallow, and why?",
    "Write a short story about the castle in two sentences.",
]


def direction(model: HookedLM, site: str, seed: int = 0) -> Direction:
    at = Site.parse(site)
    shape = at.shape(model.n_heads, model.d_head, model.d_model)
    vector = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    sizes = model.n_layers, model.d_model
    return Direction(vector, 6.0, f"d{seed}", at, at, model.name, *sizes, basis=model.basis)


def various(model: HookedLM) -> list[Intervention]:
    """One for each of the prompts: every component, and all kinds of positions."""
    at = [direction(model, f"{name}.{1 + i % 3}", i) for i, name in enumerate(COMPONENTS)]
    pre, post, attention, mlp, z = at
    return [
        post.project(),
        unsteered,
        post.add(8.0, "generated") + mlp.turn(-5.0, "first(2)"),
        z.project(5.0) + pre.ablate(),
        attention.add(9.0, "prompt") + pre.project(-7.0, "not_bos"),
        post.add(12.0, "last")
        + post.project(3.0, "generated")
        + direction(model, "resid_post.3").turn(6),
    ]


def without_stops(model: HookedLM) -> HookedLM:
    endless = copy.copy(model)
    endless.stop_ids, endless.stop_strings = frozenset(), ()
    return endless


def n_hooks(model: HookedLM) -> int:
    return sum(len(point.fwd_hooks) for point in model.bridge.hook_dict.values())


def compiled(
    model: HookedLM, steering: Intervention | Sequence[Intervention], **given: Any
) -> list[Completion]:
    # The type checks of these tests cannot be traced by the compiler.
    jaxtyping.update("jaxtyping_disable", True)
    try:
        return generate(model, PROMPTS, steering, options=GenerationOptions(compiled=True), **given)
    finally:
        jaxtyping.update("jaxtyping_disable", False)
