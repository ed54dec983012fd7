"""Perplexity against Hugging Face's own loss, and repetition against loops seen in the wild."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from interp_steer.errors import ScoringError
from interp_steer.models.loading import load
from interp_steer.scoring.fluency import (
    PAPER_THRESHOLD,
    REPETITION_THRESHOLD,
    Reference,
    is_degenerate,
    perplexity,
    repetition,
)

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "llm-steer-instruct" / "outputs-phi-3"
WORDS = [f"w{i}" for i in range(28)]
CONTEXT = 24
TEXTS = st.lists(st.sampled_from(WORDS), max_size=3 * CONTEXT).map(" ".join)


def word_tokenizer(**special):
    vocabulary = {word: index for index, word in enumerate(["<s>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", **special)


def tiny(architecture):
    torch.manual_seed(0)
    if architecture == "gpt2":
        config = GPT2Config(vocab_size=31, n_positions=CONTEXT, n_embd=16, n_layer=2, n_head=2)
        model = GPT2LMHeadModel(config)
    else:
        config = LlamaConfig(
            vocab_size=31,
            max_position_embeddings=CONTEXT,
            num_attention_heads=2,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
        )
        model = LlamaForCausalLM(config)
    for parameter in model.parameters():  # far from uniform, so that a wrong token would show
        parameter.data.mul_(4 if parameter.ndim > 1 else 1)
    return Reference(model.eval(), word_tokenizer(bos_token="<s>", eos_token="</s>"))


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def reference(request):
    return tiny(request.param)


def by_hand(reference, text):
    ids = torch.tensor([[0, *reference.tokenizer(text, add_special_tokens=False)["input_ids"]]])
    return math.exp(reference.plain(input_ids=ids, labels=ids).loss.item())


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8), batch_tokens=st.integers(1, 200))
def test_batches_agree_with_one_text_at_a_time(reference, texts, batch_tokens):
    together = perplexity(reference, texts, batch_tokens=batch_tokens)
    for text, value in zip(texts, together, strict=True):
        if not text:
            assert value is None
            continue
        assert value == pytest.approx(perplexity(reference, [text])[0], rel=1e-4)
        if len(text.split()) < CONTEXT:
            assert value == pytest.approx(by_hand(reference, text), rel=1e-4)


def test_a_uniform_model_is_as_perplexed_as_its_vocabulary_is_large():
    """At any length: so each token of a text longer than the context is scored exactly once."""
    blank = tiny("gpt2")
    for parameter in blank.plain.parameters():
        parameter.data.zero_()
    texts = [" ".join(WORDS[:4] * n) for n in (1, 5, 6, 12, 13, 40)]
    assert perplexity(blank, texts) == pytest.approx([31.0] * len(texts))


def test_windows_score_every_token_after_at_least_half_a_context():
    from interp_steer.scoring.fluency import _windows

    for length in range(2, 100):
        ids = list(range(length))
        scored = []
        for window, skip in _windows(ids, CONTEXT):
            assert len(window) <= CONTEXT
            assert skip >= min(window[skip], CONTEXT // 2)
            scored += window[skip:]
        assert scored == ids[1:]


def test_without_a_bos_the_first_token_is_not_scored():
    bare = Reference(tiny("gpt2").plain, word_tokenizer())
    ids = torch.tensor([[3, 4, 5]])
    expected = math.exp(bare.plain(input_ids=ids, labels=ids).loss.item())
    assert perplexity(bare, ["w0 w1 w2", "w0", ""]) == [pytest.approx(expected), None, None]


def test_a_hooked_model_and_a_folder_are_references_too(tmp_path):
    plain = tiny("llama")
    plain.plain.save_pretrained(tmp_path)
    plain.tokenizer.save_pretrained(tmp_path)
    texts = ["w1 w2 w3 w4", "w5 w5 w5"]
    expected = pytest.approx(perplexity(plain, texts), rel=1e-4)
    assert perplexity(load(str(tmp_path)), texts) == expected
    assert perplexity(str(tmp_path), texts) == expected


def test_the_model_is_left_in_the_mode_it_was_in():
    """Dropout would make a perplexity a matter of chance."""
    reference = tiny("gpt2")
    text = ["w1 w2 w3 w4 w5"]
    expected = perplexity(reference, text)
    reference.plain.train()
    assert perplexity(reference, text) == expected
    assert reference.plain.training


def test_a_loss_that_is_not_finite_is_an_error_and_not_a_zero():
    broken = tiny("gpt2")
    broken.plain.transformer.h[0].mlp.c_fc.weight.data.fill_(float("nan"))
    with pytest.raises(ScoringError, match="text 'w1 w2' is nan"):
        perplexity(broken, ["", "w1 w2"])


def test_degenerate_by_either_rule():
    assert is_degenerate(PAPER_THRESHOLD - 0.01) and not is_degenerate(PAPER_THRESHOLD)
    assert is_degenerate(50.0, REPETITION_THRESHOLD + 0.01)
    assert not is_degenerate(50.0, REPETITION_THRESHOLD) and not is_degenerate(None)
    assert is_degenerate(3.0, threshold=4.0) and not is_degenerate(3.0, 0.6, most_repetition=0.7)


LOOPS = [
    "the sea and " * 20,
    "```json\n\n" * 30,
    "Day 1:\n\nDay 2:\n\nDay 3:\n\n" + "".join(f"Day {i}:\n\n" for i in range(4, 40)),
    "A fine name for a paper is SE" + "SE" * 200,
    "Navigable" + "mathchar" * 80,
    "<" * 200,
    "}" + " " * 600,
    "मामितिरितिरि" * 60,
    "*-" * 80,
]
PROSE = [
    "There once was a ship that put to sea, and the name of that ship was the Billy of Tea.",
    "# Plan\n\n* Day 1: pack the boots, the map and a lamp.\n* Day 2: walk to the lake and swim.",
    "Il castello sorge sopra un colle verde; da lassù si vede tutta la valle, e il fiume lento.",
    '{"name": "Ada", "born": 1815, "died": 1852, "works": ["Notes", "Letters"]}',
    "城堡建在一座绿色的小山上，从那里可以看到整个山谷和缓缓流淌的河流。",
    "",
    "ok",
]


@pytest.mark.parametrize("text", LOOPS)
def test_loops_are_repetition(text):
    assert repetition(text) > REPETITION_THRESHOLD


@pytest.mark.parametrize("text", PROSE)
def test_prose_is_not(text):
    assert repetition(text) < 0.1


@settings(deadline=None)
@given(st.text(max_size=120), st.integers(1, 6))
def test_repetition_is_a_share_that_grows_with_copies(text, n):
    once, thrice = repetition(text, n), repetition(f"{text}\n{text}\n{text}", n)
    assert 0 <= once < 1 and 0 <= thrice < 1
    assert thrice >= once - 1e-12


def test_repetition_counts_repeats_and_nothing_else():
    assert repetition("a b c d", 4) == repetition("a b c", 4) == 0.0
    assert repetition("a b a b a", 2) == pytest.approx(2 / 4)
    with pytest.raises(ScoringError, match="n-grams of 0"):
        repetition("a b", 0)


@pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason=f"the published outputs of paper A are not at {PUBLISHED}"
)
def test_repetition_agrees_with_the_papers_rule_on_its_own_outputs():
    """3,220 layer-search outputs of Phi-3 and their GPT-2 perplexities, as published."""
    rows = [
        json.loads(line)
        for name in ("out_instr.jsonl", "out_no_instr.jsonl")
        for line in (PUBLISHED / "layer_search" / name).read_text(encoding="utf-8").splitlines()
    ]
    assert len(rows) == 3220
    low = [repetition(r["response"]) for r in rows if r["perplexity"] < PAPER_THRESHOLD]
    rest = [repetition(r["response"]) for r in rows if r["perplexity"] >= PAPER_THRESHOLD]
    assert sum(value > REPETITION_THRESHOLD for value in low) / len(low) > 0.82
    assert sum(value > REPETITION_THRESHOLD for value in rest) / len(rest) < 0.05
