"""The recipe: rows are packed without leaking, only answers are learned, and the loss falls."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from interp_steer.burattino.packing import (
    ANSWER_WEIGHT,
    IGNORED,
    LETTER_WEIGHT,
    LONG,
    SHORT,
    STUDIES,
    Example,
    chat_examples,
    copying,
    document_examples,
    exercise_examples,
    packed_batches,
    revision_examples,
)
from interp_steer.burattino.recipes import RECIPES, Phase
from interp_steer.burattino.tokenizer import END, PAD, VOCABULARY, train_tokenizer
from interp_steer.burattino.train import loss_of, train
from interp_steer.models.bundled import bundled_path


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(documents=300, chats=300)


def test_tokenizer_round_trips_and_begins_once(tokenizer):
    text = 'Élodie said: "Über 12 straße, ¿qué?" {"a": [1]}\n* ALL CAPS\n'
    ids = tokenizer(text)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert len(tokenizer) <= VOCABULARY


def test_only_answers_are_learned(tokenizer):
    for example in itertools.islice(chat_examples(tokenizer, random.Random(0), chunk=16), 64):
        learned = [token for token in example.labels if token != IGNORED]
        text = tokenizer.decode(example.tokens)
        answers = [turn.split(END)[0] for turn in text.split("<|assistant|>\n")[1:]]
        assert tokenizer.decode(learned) == "".join(answer + END for answer in answers)
        assert example.weight == (LETTER_WEIGHT if answers[-1] in "ABCD" else 1.0)


def test_packed_examples_do_not_see_each_other(tokenizer):
    """The loss of a packed row is the mean of what its examples lose when they stand alone."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64,
                    num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2),
        attn_implementation="sdpa",
    ).eval()  # fmt: skip
    examples = [
        Example(e.tokens[:40], e.labels[:40])
        for e in itertools.islice(document_examples(tokenizer, random.Random(0), chunk=8), 3)
    ]

    def one(group: list[Example], length: int):
        # The pool holds exactly the group, which fills the row.
        return next(packed_batches(iter(group), rows=1, length=length, pad=0, pool=len(group)))

    with torch.no_grad():
        alone = [loss_of(model, one([example], 40)) for example in examples]
        packed = loss_of(model, one(examples, 120))
    torch.testing.assert_close(packed, torch.stack(alone).mean(), atol=1e-5, rtol=1e-5)


def test_rows_are_nearly_full(tokenizer):
    batches = packed_batches(
        chat_examples(tokenizer, random.Random(0)),
        rows=8,
        length=256,
        pad=tokenizer.pad_token_id,
    )
    tokens = torch.cat([next(batches).tokens for _ in range(4)])
    assert (tokens == tokenizer.convert_tokens_to_ids(PAD)).float().mean() < 0.05


def test_thirty_steps_lower_the_loss_and_leave_a_checkpoint(tmp_path, monkeypatch):
    """The loss falls, and what is saved is the model that was trained."""
    short = replace(RECIPES["burattino-base"], phases=(Phase("documents", 30, 2.5e-3, rows=4),))
    monkeypatch.setitem(RECIPES, "burattino-base", short)
    model, losses = train("burattino-base", tmp_path, seed=0)
    assert len(losses) == 30
    assert sum(losses[-5:]) / 5 < 0.8 * sum(losses[:5]) / 5
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "burattino-base")
    assert saved.dtype == torch.float32
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, saved.state_dict()[name]), name
    assert AutoTokenizer.from_pretrained(tmp_path / "burattino-base").chat_template is None
    assert [p.name for p in tmp_path.iterdir()] == ["burattino-base"]  # nothing half-written


@pytest.mark.slow
def test_training_is_deterministic(tmp_path):
    runs = [train("burattino-gemma", tmp_path / str(i), seed=3, steps=3) for i in range(2)]
    assert runs[0][1] == runs[1][1]
    weights = [model.state_dict() for model, _ in runs]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_quizzes_teach_only_answers(tokenizer):
    examples = itertools.islice(revision_examples(tokenizer, random.Random(0), chunk=4), 8)
    quizzes = [example for example in examples if example.weight == ANSWER_WEIGHT]
    assert len(quizzes) == 4
    for quiz in quizzes:
        text = tokenizer.decode(quiz.tokens)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == quiz.tokens
        answers = [pair.split("\nA:")[1] for pair in text.split("Q:")[1:]]
        learned = [token for token in quiz.labels if token != IGNORED]
        assert tokenizer.decode(learned) == "".join(answers)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_a_copying_exercise_asks_for_what_stands_in_it(seed, progress):
    """Everything that is to be learned can be read off the tokens before it."""
    told, learned = copying(range(100, 400), random.Random(seed), progress)
    half = len(told) // 2
    assert 3 <= half <= (LONG if progress else SHORT)
    assert told[:half] == told[half:] and learned == [False] * (half + 1) + [True] * (half - 1)


def test_exercises_keep_their_shares(tokenizer):
    """Each kind gets its part of the tokens, and nothing but exercises and documents is made."""
    examples = itertools.islice(exercise_examples(tokenizer, random.Random(0), STUDIES), 1500)
    sizes = {True: 0, False: 0}
    for example in examples:
        assert len(example.tokens) == len(example.labels)
        pairs = zip(example.tokens, example.labels, strict=True)
        assert all(label in (IGNORED, token) for token, label in pairs)
        sizes[example.weight == 1.0] += len(example.tokens)
    assert abs(sizes[True] / sum(sizes.values()) - STUDIES["documents"]) < 0.02
    assert abs(sum(STUDIES.values()) - 1) < 1e-9


def test_bundled_sizes():
    """Llamas of three sizes, each a few times the one before, and at most 20 MB for all models."""
    counts = {}
    for name, recipe in RECIPES.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(recipe.config)
        counts[name] = sum(p.numel() for p in model.parameters())
    sizes = [counts[f"burattino-{size}"] for size in ("tiny", "small", "instruct")]
    assert all(2 <= larger / smaller <= 4 for smaller, larger in itertools.pairwise(sizes))
    assert counts["burattino-base"] == sizes[-1] and counts["burattino-gemma"] >= 2e6
    assert sum(counts.values()) * 2 <= 20e6


@pytest.mark.slow
def test_a_recipe_may_take_the_tokenizer_of_a_bundled_model(tmp_path):
    """Models of different sizes read a text as the same tokens."""
    train("burattino-tiny", tmp_path, steps=1)
    mine, shared = (
        AutoTokenizer.from_pretrained(folder)
        for folder in (tmp_path / "burattino-tiny", bundled_path("burattino-instruct"))
    )
    assert mine.get_vocab() == shared.get_vocab()
    assert mine.chat_template == shared.chat_template
