"""Answers as they are made: every token is told, in order, and each has its share of the text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from interp_steer.generation.tracing import split_by_token
from interp_steer.models.identity import ModelIdentity
from interp_steer.vectors.card import Card
from tests.support.checkpoints import ARCHITECTURES

PROMPTS = ["Name a tree.", "Tell me about the sea and the castle.", "Name a tree.", "Why?"]


def told(model: ist.HookedLM, **options: object) -> tuple[dict[int, list[int]], list]:
    """What ``on_token`` heard of each prompt, and the completions."""
    heard: dict[int, list[int]] = defaultdict(list)
    rare = {name: options.pop(name) for name in ("use_cache", "early_stop") if name in options}
    said = ist.generate(
        model,
        PROMPTS,
        max_new_tokens=12,
        options=ist.GenerationOptions(
            on_token=lambda row, token: heard[row].append(token),
            **rare,  # type: ignore[arg-type]
        ),
        **options,  # type: ignore[arg-type]
    )
    return dict(heard), said


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_size": 1}, {"batch_size": 3, "use_cache": False}, {"sampling": ist.Sampling(0.9)}],
    ids=["together", "one by one", "uncached", "drawn"],
)
def test_what_is_told_is_what_is_returned(model: ist.HookedLM, options: dict[str, object]):
    heard, said = told(model, **options)
    assert {row: tuple(tokens) for row, tokens in heard.items()} == {
        row: completion.tokens for row, completion in enumerate(said)
    }
    given = {name: value for name, value in options.items() if name != "use_cache"}
    plain = ist.generate(model, PROMPTS, max_new_tokens=12, **given)  # type: ignore[arg-type]
    assert said == plain


def test_an_answer_of_the_ledger_is_told_too(model: ist.HookedLM, tmp_path: Path):
    first = told(model, ledger=ist.Ledger(tmp_path / "answers.jsonl"))
    ledger = ist.Ledger(tmp_path / "answers.jsonl")
    assert told(model, ledger=ledger) == first
    assert ledger.reused == len(PROMPTS)


def test_an_answer_that_is_cut_short_is_told_as_far_as_it_goes(model: ist.HookedLM):
    heard, said = told(model, early_stop=lambda row, text: row == 1)
    assert said[1].finish_reason == "settled"
    assert all(tuple(heard[row]) == completion.tokens for row, completion in enumerate(said))


def test_raising_ends_the_decoding_and_leaves_no_hook(model: ist.HookedLM):
    class Stopped(Exception):
        pass

    def stop(row: int, token: int) -> None:
        raise Stopped

    card = Card(
        name="aside",
        identity=ModelIdentity.of(model),
        component="resid_post",
        position="last",
        estimator="random",
        n=1,
        data_hash="",
    )
    directions = torch.randn(
        model.n_layers, model.d_model, generator=torch.Generator().manual_seed(0)
    )
    layers = tuple(range(model.n_layers))
    steer = ist.SteeringVector(directions, None, layers, card).at(1).add(8.0)
    before = ist.generate(model, PROMPTS, max_new_tokens=4)
    with pytest.raises(Stopped):
        ist.generate(
            model,
            PROMPTS,
            steer,
            max_new_tokens=4,
            options=ist.GenerationOptions(on_token=stop),
        )
    assert ist.generate(model, PROMPTS, max_new_tokens=4) == before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_texts_of_tokens_join_into_the_answer(
    architecture: str, tiny: Callable[[str], ist.HookedLM]
):
    model = tiny(architecture)
    for completion in ist.generate(model, PROMPTS, max_new_tokens=24):
        pieces = split_by_token(model, completion.tokens, completion.text)
        assert len(pieces) == len(completion.tokens)
        assert "".join(pieces) == completion.text


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40), cut=st.integers(0, 60))
def test_half_characters_belong_to_the_token_that_completes_them(
    tiny: Callable[[str], ist.HookedLM], text: str, cut: int
):
    model = tiny("qwen2")  # bytes: a character of several is several tokens
    tokens = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = split_by_token(model, tokens)
    assert "".join(pieces) == model.decode(tokens) and len(pieces) == len(tokens)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)
    begun = split_by_token(model, tokens, model.decode(tokens)[:cut])
    assert "".join(begun) == model.decode(tokens)[:cut]


@pytest.mark.parametrize("estimator", ["difference_in_means", "pca"])
def test_a_fit_tells_how_far_it_is_and_can_be_ended(model: ist.HookedLM, estimator: str):
    class Stopped(Exception):
        pass

    def stop(read: int) -> None:
        raise Stopped

    pairs = ist.world.instruction("change_case:english_lowercase", fit=10, select=0, test=0)
    heard: list[int] = []
    told = ist.fit(
        model,
        pairs,
        estimator=estimator,
        options=ist.capture.CaptureOptions(batch_size=4, on_read=heard.append),
    )
    assert sum(heard) == 2 * len(pairs) and len(heard) >= 6
    with pytest.raises(Stopped):
        ist.fit(model, pairs, options=ist.capture.CaptureOptions(on_read=stop))
    assert torch.equal(
        told.directions,
        ist.fit(
            model, pairs, estimator=estimator, options=ist.capture.CaptureOptions(batch_size=4)
        ).directions,
    )
