"""Compiled decoding says what the ordinary one says."""

from __future__ import annotations

import pytest
import torch

from interp_steer.errors import GenerationError
from interp_steer.generation import compiled as slots
from interp_steer.generation.completions import GenerationOptions, generate
from interp_steer.generation.sampling import Sampling
from interp_steer.interventions.intervention import unsteered
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.kv_cache import RowCache
from tests.support.steering import PROMPTS, compiled, direction, various

ARCHITECTURES = (
    "llama3",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("gemma2", "gpt2", "phi3", "qwen2")),
)


@pytest.mark.parametrize("model", ARCHITECTURES, indirect=True)
def test_compiled_decoding_says_the_same(model: HookedLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of all lengths and steerings come and go in two slots, and columns run out."""
    monkeypatch.setattr(slots, "COLUMNS_TO_SPARE", 1)
    given, steering = {"max_new_tokens": 12, "batch_size": 2}, various(model)
    assert compiled(model, steering, **given) == generate(model, PROMPTS, steering, **given)


@pytest.mark.slow
def test_what_was_compiled_for_other_hooks_does_not_serve(model: HookedLM) -> None:
    answers = []
    for steer in (direction(model, "resid_post.1").add(9.0), direction(model, "z.2").project()):
        given = {"max_new_tokens": 6, "batch_size": 4}
        plain = generate(model, PROMPTS, steer, **given)
        assert compiled(model, steer, **given) == plain
        answers.append([one.tokens for one in plain])
    assert answers[0] != answers[1]


@pytest.mark.slow
def test_sampled_tokens_are_the_same_too(model: HookedLM) -> None:
    given = {"max_new_tokens": 6, "sampling": Sampling(seed=3)}
    plain = generate(model, PROMPTS, unsteered, **given)
    assert compiled(model, unsteered, **given) == plain


def test_only_the_cached_twin_is_compiled(model: HookedLM) -> None:
    with pytest.raises(GenerationError, match="only the plain twin is compiled"):
        generate(model, PROMPTS, options=GenerationOptions(compiled=True, use_cache=False))
    with pytest.raises(GenerationError, match="through='hook_points'"):
        options = GenerationOptions(compiled=True, through="hook_points")
        generate(model, PROMPTS, options=options)


def test_a_slot_holds_what_was_put_and_a_shift_moves_it(model: HookedLM) -> None:
    cache = RowCache()
    batch = model.pad(model.tokenize(PROMPTS[:2]))
    with torch.no_grad():
        model.plain(
            batch.tokens,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            past_key_values=cache,
        )
    width = batch.tokens.shape[1]
    held = slots.SlotCache(3, width + 5, cache)
    held.put(torch.tensor([2, 0]), cache, width)
    held.shift(4)
    for layer, (keys, values) in zip(held.layers, cache.filled, strict=True):
        for mine, given in ((layer.keys, keys), (layer.values, values)):
            torch.testing.assert_close(mine[[2, 0], :, 4 : width + 4], given, rtol=0, atol=0)
            assert not mine[1].any()
