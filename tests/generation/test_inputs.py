"""Prompts are prepared once: rendered once, tokenised once, and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import interp_steer as ist
from interp_steer.capture import capture_moments
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.prompts import PromptFormat
from tests.support.steering import PROMPTS

ANSWERS = ["The sea."] * len(PROMPTS)


class CountingModel:
    """Count how often each prompt is rendered."""

    def __init__(self, model: HookedLM, patch: pytest.MonkeyPatch) -> None:
        self.rendered: Counter[str] = Counter()
        render = PromptFormat.render

        def counting(
            this: PromptFormat, tokenizer: Any, query: Any, system: str | None = None
        ) -> str:
            self.rendered[str(query)] += 1
            return render(this, tokenizer, query, system)

        patch.setattr(PromptFormat, "render", counting)


@pytest.mark.parametrize(
    "run",
    [
        lambda model: ist.generate(model, PROMPTS, max_new_tokens=2),
        lambda model: ist.logprobs(model, PROMPTS, ANSWERS),
        lambda model: ist.divergence(model, PROMPTS, ANSWERS, ist.unsteered),
        lambda model: ist.trace(model, PROMPTS, ANSWERS, ist.unsteered),
        lambda model: capture_moments(model, PROMPTS),
        lambda model: capture_moments(model, PROMPTS, positions="generated", max_new_tokens=2),
        lambda model: capture_moments(model, PROMPTS, positions="generated", answers=ANSWERS),
    ],
    ids=["generate", "logprobs", "divergence", "trace", "capture", "own answers", "given answers"],
)
def test_a_prompt_is_rendered_once(
    model: HookedLM, monkeypatch: pytest.MonkeyPatch, run: Callable[[HookedLM], Sequence[Any]]
) -> None:
    counting = CountingModel(model, monkeypatch)
    run(model)
    assert counting.rendered == Counter(PROMPTS)


def test_a_rendered_prompt_has_the_tokens_of_its_query(model: HookedLM) -> None:
    rendered = [model.render(prompt) for prompt in PROMPTS]
    assert model.tokenize_rendered(rendered) == model.tokenize(PROMPTS)
