"""An answer that has failed for good is cut, and no verdict, accuracy or choice changes by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from interp_steer.contrast.instructions import registry
from interp_steer.errors import ScoringError
from interp_steer.generation.completions import generate
from interp_steer.generation.ledger import Ledger
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.scoring import early, ifeval
from interp_steer.sweeps.damage import with_fluency
from interp_steer.sweeps.grid import breaks_instruction
from interp_steer.world.held_out import evaluation_chats

BREAKABLE = {
    "punctuation:no_comma": {},
    "change_case:english_lowercase": {},
    "change_case:english_capital": {},
    "startend:quotation": {},
    "detectable_format:json_format": {},
    "keywords:forbidden_words": {"forbidden_words": ["art", "sea bird", "a.c"]},
    "detectable_format:number_bullet_lists": {"num_bullets": 2},
    "length_constraints:number_words": {"relation": "less than", "num_words": 4},
    "keywords:letter_frequency": {"letter": "A", "let_frequency": 3, "let_relation": "less than"},
}
PIECES = st.sampled_from(
    [
        *("art", "Art", "ist", "sea ", "bird", "abc", "ǅ", "ª", "ß", "É", "It is late.", "the sea"),
        *("*", "* ", "**", "-", "- ", "\n", "\n\n", " ", "\t", ",", '"', "'", "12", "1."),
        *("```json\n", "```", "{", "}", "[1]", "tru", "e", "NaN"),
    ]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@pytest.mark.parametrize("instruction_id", BREAKABLE)
@settings(max_examples=150, deadline=None)
@given(beginning=TEXTS, rest=TEXTS)
def test_what_has_failed_cannot_be_mended(instruction_id: str, beginning: str, rest: str) -> None:
    kwargs = [BREAKABLE[instruction_id]]
    if early.has_failed(beginning, [instruction_id], kwargs):
        assert not ifeval.verify(beginning, [instruction_id], kwargs).strict
        assert not ifeval.verify(beginning + rest, [instruction_id], kwargs).strict
        assert early.has_failed(beginning + rest, [instruction_id], kwargs)


@pytest.mark.parametrize("instruction_id", BREAKABLE)
def test_plain_answers_are_given_up_before_their_end(instruction_id: str) -> None:
    plain = "The art of the Sea, and a sea bird.\n- a\n- b\n- c\nAaa. It is more than four words."
    assert early.has_failed(plain, [instruction_id], [BREAKABLE[instruction_id]])
    assert not early.has_failed("", [instruction_id], [BREAKABLE[instruction_id]])


@pytest.mark.parametrize("instruction_id", registry.IDS)
def test_answers_that_obey_are_never_given_up(instruction_id: str) -> None:
    for chat in evaluation_chats(instruction_id, n=12):
        for end in range(len(chat.answer) + 1):
            assert not early.has_failed(chat.answer[:end], chat.instruction_ids, chat.kwargs)


def test_one_failed_instruction_of_several_is_enough() -> None:
    both = ["startend:quotation", "punctuation:no_comma"]
    assert early.has_failed('"Well,', both, [{}, {}])
    assert not early.has_failed('"Well', both, [{}, {}])


def test_a_cut_answer_is_the_beginning_of_the_whole_one(model: HookedLM, tmp_path: Path) -> None:
    prompts = ["Tell me about the sea.", "List five things.", "Sea?"]
    whole = generate(model, prompts, max_new_tokens=12)

    def settled(row: int, said: str) -> bool:
        return row != 1 and len(said) > 3 * row

    cut = generate(
        model, prompts, max_new_tokens=12, options=ist.GenerationOptions(early_stop=settled)
    )
    assert cut[1] == whole[1]
    for one, other in zip(cut, whole, strict=True):
        assert other.tokens[: len(one.tokens)] == one.tokens
    assert [one.finish_reason for one in (cut[0], cut[2])] == ["settled"] * 2
    # A ledger gives a cut answer only to who would cut it too, and a whole one to everybody.
    ledger = Ledger(tmp_path / "answers.jsonl")
    assert (
        generate(
            model,
            prompts,
            max_new_tokens=12,
            options=ist.GenerationOptions(early_stop=settled),
            ledger=ledger,
        )
        == cut
    )
    assert (
        generate(
            model,
            prompts,
            max_new_tokens=12,
            options=ist.GenerationOptions(early_stop=settled),
            ledger=ledger,
        )
        == cut
    )
    assert ledger.reused == 3
    assert generate(model, prompts, max_new_tokens=12, ledger=ledger) == whole
    assert ledger.reused == 4
    again = Ledger(tmp_path / "answers.jsonl")
    assert (
        generate(
            model,
            prompts,
            max_new_tokens=12,
            options=ist.GenerationOptions(early_stop=settled),
            ledger=again,
        )
        == whole
    )


def test_the_beginning_of_a_stop_string_is_not_judged(burattino_base: HookedLM) -> None:
    seen: list[str] = []
    queries = ["What is the capital of the country?", "Where does the miller live?"]
    generate(
        burattino_base,
        queries,
        max_new_tokens=48,
        options=ist.GenerationOptions(early_stop=lambda _, text: bool(seen.append(text))),
    )
    stops = burattino_base.stop_strings
    assert stops and seen
    assert not any(said.endswith(stop[:1]) for said in seen for stop in stops)


def test_a_sweep_with_early_verdicts_has_the_same_accuracies(
    burattino_instruct: HookedLM, burattino_base: HookedLM
) -> None:
    frames = []
    for name in ("punctuation:no_comma", "change_case:english_lowercase"):
        pairs = ist.world.instruction(name, fit=16, select=6, test=2)
        vector = ist.fit(burattino_instruct, pairs.fit)
        grid = [ist.Cell("none")]
        grid += [ist.Cell("steered", vector.at(layer).project(), layer) for layer in (2, 4, 6)]
        for settled in (None, breaks_instruction):
            records = ist.sweep(
                burattino_instruct, grid, pairs.select, settled=settled, max_new_tokens=48
            )
            frames.append(with_fluency(records, burattino_base))
        whole, cut_short = frames[-2:]
        assert whole["strict"].to_list() == cut_short["strict"].to_list()
        cut = cut_short["finish_reason"] == "settled"
        assert cut.any() and not cut_short.filter(cut)["strict"].any()
        assert cut_short.filter(cut)["loose"].is_null().all()
        assert cut_short.filter(cut)["degenerate"].is_null().all()
        assert cut_short["n_tokens"].sum() < whole["n_tokens"].sum()
        kept, same = cut_short.filter(~cut), whole.filter(~cut)
        measured = ("degenerate", "perplexity")  # in other batches, hence to rounding
        assert kept.drop(measured).equals(same.drop(measured))
        assert kept["perplexity"].to_list() == pytest.approx(same["perplexity"].to_list(), rel=1e-4)
        with pytest.raises(ScoringError, match="cut by an early verdict; use rule='interval'"):
            ist.select_layer(cut_short, "paper")
        assert (
            ist.select_layer(cut_short, "interval").layer
            == ist.select_layer(whole, "interval").layer
        )
