"""Prompts: rendered as the template says, tokenised once, padded without a trace."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp_steer.errors import ModelError
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import load
from interp_steer.models.prompts import PromptFormat, closing_token, question_answer
from tests.support.checkpoints import ARCHITECTURES, CHAT_TEMPLATES, VOCABULARIES, train_tokenizer

every_architecture = pytest.mark.parametrize("model", ARCHITECTURES, indirect=True)


def architecture_of(model: HookedLM) -> str:
    return model.name.removeprefix("tiny-")


@every_architecture
def test_the_chat_template_is_used_where_there_is_one(model: HookedLM) -> None:
    query = "Tell me about the sea."
    if architecture_of(model) in CHAT_TEMPLATES:
        assert model.prompt_format.name == "chat"
        assert model.render(query) == model.tokenizer.apply_chat_template(
            [{"role": "user", "content": query}], tokenize=False, add_generation_prompt=True
        )
        assert model.stop_strings == ()
    else:
        assert model.prompt_format == question_answer
        assert model.render(query) == "Q: Tell me about the sea.\nA:"
        assert model.stop_strings == ("Q:",)


@every_architecture
def test_a_prompt_has_one_bos_however_many_write_it(model: HookedLM) -> None:
    words = VOCABULARIES[architecture_of(model)]
    templated = "bos_token" in CHAT_TEMPLATES.get(architecture_of(model), "")
    bos = model.tokenizer.bos_token_id
    rows = model.tokenize(["Hello.", "Tell me about the sea."])
    assert all((row[0] == bos) == (words.adds_bos or templated) for row in rows)
    assert all(bos not in row[1:] for row in rows)
    assert [str(model.tokenizer.decode(row)).removeprefix(words.bos or "") for row in rows] == [
        model.render(query).removeprefix(words.bos or "")
        for query in ("Hello.", "Tell me about the sea.")
    ]
    if architecture_of(model) in CHAT_TEMPLATES:  # what Hugging Face itself would feed
        chat = [{"role": "user", "content": "Hello."}]
        [row] = model.tokenize([chat])
        assert row == model.tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_dict=False
        )


def test_a_bos_in_ones_own_format_is_not_doubled(checkpoint: Callable[[str], Path]) -> None:
    folder = checkpoint("llama2")
    with_bos = load(folder, device="cpu", prompt_format="<s><s>User: {x}\nBot:", check=False)
    without = load(folder, device="cpu", prompt_format="User: {x}\nBot:", check=False)
    assert with_bos.tokenize(["Hello."]) == without.tokenize(["Hello."])


@pytest.mark.parametrize(
    ("architecture", "ends"),
    [
        ("llama3", {"<|end_of_text|>", "<|eot_id|>"}),  # both from the generation config
        ("phi3", {"<|endoftext|>", "<|end|>"}),  # the second from the template alone
        ("gemma2", {"<eos>", "<end_of_turn>"}),
        ("mistral", {"</s>"}),
        ("qwen2", {"<|im_end|>"}),
        ("llama2", {"</s>"}),
        ("gpt2", {"<|endoftext|>"}),
    ],
)
def test_stop_ids_come_from_the_generation_config_and_the_template(
    architecture: str, ends: set[str], tiny: Callable[[str], HookedLM]
) -> None:
    model = tiny(architecture)
    assert set(map(model.tokenizer.convert_ids_to_tokens, model.stop_ids)) == ends


def test_a_template_that_closes_a_turn_with_text_gives_a_stop_string() -> None:
    tokenizer = train_tokenizer("llama2")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n###\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    found = PromptFormat.for_tokenizer(tokenizer)
    assert found.stop_strings == ("###",)
    assert closing_token(tokenizer, found) is None
    tokenizer.chat_template = "{{ messages[0]['content'] }}"  # knows of no answers
    assert PromptFormat.for_tokenizer(tokenizer).stop_strings == ()


def test_chats_and_system_texts(tiny: Callable[[str], HookedLM]) -> None:
    turns = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "Tell me {more}."},
    ]
    base, chat, gemma = tiny("llama2"), tiny("llama3"), tiny("gemma2")
    assert base.render(turns) == "Q: Hello.\nA: Hi!\nQ: Tell me {more}.\nA:"
    assert base.render("Hello.", "Be brief.") == "Be brief.\nQ: Hello.\nA:"
    assert chat.render("Hello.", system="Be brief.") == chat.render(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."}]
    )
    assert "Be brief." in chat.render("Hello.", system="Be brief.")
    assert "model\nHi!" in gemma.render(turns)
    with pytest.raises(ModelError, match=r"refuses turns of system, user: System role not supp"):
        gemma.render("Hello.", system="Be brief.")
    for unanswerable in ([*turns, {"role": "system", "content": "Be brief."}], turns[1:2]):
        with pytest.raises(ModelError, match=r"a chat ends with the user's turn, or .* has \["):
            chat.render(unanswerable)
    with pytest.raises(ModelError, match="chat ends with is empty; leave that turn out"):
        chat.render([*turns, {"role": "assistant", "content": ""}])
    with pytest.raises(ModelError, match=r"is not a turn of a chat; write \{'role'"):
        chat.render([{"role": "user"}])
    with pytest.raises(ModelError, match="a chat has no turns; give at least the user's"):
        chat.render([])


def test_an_answer_that_has_begun_is_written_behind_the_prompt(
    tiny: Callable[[str], HookedLM],
) -> None:
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Well, it"}]
    base, gemma = tiny("llama2"), tiny("gemma2")
    assert base.render(turns) == "Q: Hi.\nA: Well, it"
    assert gemma.render(turns) == gemma.render("Hi.") + "Well, it"
    later = [*turns, {"role": "user", "content": "And?"}, {"role": "assistant", "content": "So"}]
    assert base.render(later) == "Q: Hi.\nA: Well, it\nQ: And?\nA: So"


def test_ones_own_format(checkpoint: Callable[[str], Path]) -> None:
    def shout(query: str) -> str:
        return f"{query.upper()}!"

    model = load(checkpoint("gemma2"), device="cpu", prompt_format=shout, check=False)
    assert model.prompt_format.name == "custom"
    assert model.render("hello") == "HELLO!"
    assert list(model.stop_ids) == [model.tokenizer.eos_token_id]  # no chat, no end of turn
    with pytest.raises(ModelError, match="takes only the query"):
        model.render("hello", system="Be brief.")
    ready = PromptFormat("custom", "Say {x}.", stop_strings=("\n",))
    assert load(checkpoint("gpt2"), device="cpu", prompt_format=ready).stop_strings == ("\n",)


def test_formats_that_cannot_work_are_refused(model: HookedLM) -> None:
    with pytest.raises(ModelError, match=r"'Hello' has no place for the query; write \{x\}"):
        PromptFormat.of("Hello")
    with pytest.raises(ModelError, match="prompt_format is a int; give a text"):
        PromptFormat.of(3)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="prompt format 'alpaca' is unknown; use 'chat'"):
        PromptFormat("alpaca", "{x}")
    with pytest.raises(ModelError, match="returned a int for 'hello'"):
        PromptFormat("custom", lambda query: 5).render(model.tokenizer, "hello")  # type: ignore[arg-type,return-value]


def test_prompts_that_cannot_be_read_are_refused(
    model: HookedLM, checkpoint: Callable[[str], Path]
) -> None:
    with pytest.raises(ModelError, match="list of prompts is empty; give at least one"):
        model.tokenize([])
    with pytest.raises(ModelError, match=r"prompts is one text, 'Hello\.'; give a list"):
        model.tokenize("Hello.")
    with pytest.raises(
        ModelError, match=r"prompt 1 has \d+ tokens, more than the 256 that tiny-llama3 .*shorten"
    ):
        model.tokenize(["Hello.", "whale " * 400])
    bare = load(checkpoint("gpt2"), device="cpu", prompt_format="{x}", check=False)
    with pytest.raises(ModelError, match="prompt 0 has no tokens"):
        bare.tokenize([""])
    with pytest.raises(ModelError, match="cannot pad 0 rows; give at least one"):
        model.pad([])
    with pytest.raises(ModelError, match=r"cannot pad 2 rows, empty at \[1\]"):
        model.pad([[1], []])


rows_of_tokens = st.lists(
    st.lists(st.integers(0, 299), min_size=1, max_size=12), min_size=1, max_size=5
)


@given(rows=rows_of_tokens)
def test_padding_keeps_every_token_and_masks_the_rest(
    rows: list[list[int]], model: HookedLM
) -> None:
    batch = model.pad(rows)
    width = max(map(len, rows))
    assert batch.tokens.shape == batch.mask.shape == (len(rows), width)
    for row, tokens, mask, positions in zip(
        rows, batch.tokens, batch.mask, batch.position_ids, strict=True
    ):
        assert tokens[mask].tolist() == row
        assert mask.tolist() == [False] * (width - len(row)) + [True] * len(row)
        assert positions[mask].tolist() == list(range(len(row)))
        assert (tokens[~mask] == model.pad_id).all()


@every_architecture
def test_pads_are_inert_whatever_token_they_are(model: HookedLM) -> None:
    assert model.pad_id not in model.stop_ids
    assert 0 <= model.pad_id < model.plain.config.vocab_size
    batch = model.pad(model.tokenize(["Tell me about the castle and the sea.", "Hello."]))
    other = PaddedBatch(torch.where(batch.mask, batch.tokens, 299), batch.mask)
    [alone] = model.tokenize(["Hello."])
    with torch.inference_mode():
        logits, same = (
            model.bridge(one.tokens, attention_mask=one.attention_mask) for one in (batch, other)
        )
        unpadded = model.bridge(model.pad([alone]).tokens)[0]
    torch.testing.assert_close(logits[batch.mask], same[batch.mask], rtol=0, atol=0)
    torch.testing.assert_close(logits[1][batch.mask[1]], unpadded, rtol=0, atol=1e-4)


@every_architecture
def test_decoding_leaves_special_tokens_out(model: HookedLM) -> None:
    text = 'The whale said: "12 apples , please !"'
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert model.decode([*ids, *sorted(model.stop_ids)]) == text
    assert model.decode(torch.tensor(ids)) == text


def test_the_models_tokenizer_is_left_as_it_came(model: HookedLM) -> None:
    before = copy.deepcopy(model.tokenizer.init_kwargs)
    model.tokenize(["Hello."])
    assert model.tokenizer.init_kwargs == before
    assert model.tokenizer.pad_token is None
