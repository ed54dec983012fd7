"""The basis of the weights is on the card, and bases do not mix; what ``wrap`` takes.

What concerns a ``HookedTransformer`` itself is in ``tests/legacy``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformer_lens.model_bridge import TransformerBridge

import interp_steer as ist
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.errors import BasisError, InterchangeError, ModelError, VectorError
from interp_steer.interchange.conversion import card_to_json, parse_card
from interp_steer.models.backends.hooked_transformer import TransformerCache, is_hooked_transformer
from interp_steer.models.basis import UNPROCESSED
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.identity import ModelIdentity
from interp_steer.models.kv_cache import RowCache

FOLDED = "processed (norms folded)"


@pytest.fixture(scope="module")
def pairs() -> ContrastSet:
    return ist.world.instruction("change_case:english_lowercase", fit=6, select=2, test=3)


@pytest.fixture(scope="module")
def processed(checkpoint: Callable[[str], Path]) -> HookedLM:
    """A bridge whose weights TransformerLens has processed."""
    bridge = TransformerBridge.boot_transformers(str(checkpoint("llama3")), device="cpu")
    bridge.enable_compatibility_mode()
    return ist.wrap(bridge)


# ----------------------------------------------------------------------- which basis
def test_a_checkpoints_own_weights_are_unprocessed(tiny: Callable[[str], HookedLM]) -> None:
    for architecture in ("llama3", "gpt2", "qwen2"):
        assert tiny(architecture).basis == UNPROCESSED == "unprocessed"


def test_a_bridge_that_was_processed_says_so(
    processed: HookedLM, checkpoint: Callable[[str], Path]
) -> None:
    assert processed.basis == FOLDED
    bridge = TransformerBridge.boot_transformers(str(checkpoint("llama3")), device="cpu")
    bridge.enable_compatibility_mode(no_processing=True)
    wrapped = ist.wrap(bridge)
    assert wrapped.basis == UNPROCESSED
    bridge.process_weights()  # by somebody who forgets that it was wrapped
    assert wrapped.basis == FOLDED


def test_centred_and_folded_biases_are_seen_on_a_bridge(checkpoint: Callable[[str], Path]) -> None:
    bridge = TransformerBridge.boot_transformers(str(checkpoint("gpt2")), device="cpu")
    bridge.enable_compatibility_mode()
    with pytest.raises(ModelError, match=r"differ by .*weight processing of your own"):
        ist.wrap(bridge)  # the folded biases have no place in a plain GPT-2
    assert ist.wrap(bridge, check=False).basis == (
        "processed (norms folded, writing weights centred, value biases folded)"
    )


# ----------------------------------------------------------------------- on the card
def test_the_basis_is_on_every_card_and_comes_back(
    processed: HookedLM, tiny: Callable[[str], HookedLM], pairs: ContrastSet, tmp_path: Path
) -> None:
    for model in (processed, tiny("llama3")):
        vector = ist.fit(model, pairs)
        stepped = ist.fit_steps(model, pairs, n_steps=2)
        assert {vector.card.basis, stepped.card.basis, ModelIdentity.of(model).basis} == {
            model.basis
        }
        vector.save(tmp_path / "v")
        stepped.save(tmp_path / "s")
        assert ist.SteeringVector.load(tmp_path / "v").card == vector.card
        assert ist.SteppedVector.load(tmp_path / "s").card == stepped.card
        assert model.basis in vector._repr_html_()
        assert (
            parse_card(json.loads(json.dumps(card_to_json(vector.card))), "a file") == vector.card
        )
        assert vector.at(1).basis == model.basis
        assert vector.like_random(0).card.basis == (vector * 2).card.basis == model.basis
        maps = ist.fit_transport(model, pairs, layers=[1])
        assert maps.at(1).basis == model.basis


def test_a_card_of_an_earlier_version_is_of_unprocessed_weights(
    tiny: Callable[[str], HookedLM], pairs: ContrastSet
) -> None:
    card = ist.fit(tiny("llama3"), pairs).card
    earlier = {key: value for key, value in card_to_json(card).items() if key != "basis"}
    assert type(card).read(earlier) == parse_card(earlier, "a file") == card
    with pytest.raises(InterchangeError, match="damaged"):
        parse_card(earlier | {"basis": 3}, "a file")


# ----------------------------------------------------------------------- mixing
def test_bases_do_not_mix(
    processed: HookedLM, tiny: Callable[[str], HookedLM], pairs: ContrastSet, tmp_path: Path
) -> None:
    raw = tiny("llama3")
    vector, other = ist.fit(processed, pairs), ist.fit(raw, pairs)
    steer = vector.at(1).project()
    prompts = ["Tell me about the sea."]
    assert ist.generate(processed, prompts, steer, max_new_tokens=2)[0].applied == str(steer)
    said = (
        r"was read from processed \(norms folded\) weights and cannot act on .*, whose weights are "
        r"unprocessed: .*ist\.fit\(model, pairs\), or wrap .*from_pretrained_no_processing"
    )
    mixed: list[Callable[[], Any]] = [
        lambda: ist.generate(raw, prompts, steer),
        lambda: ist.logprobs(raw, prompts, ["A whale."], steer),
        lambda: raw.steered(steer).__enter__(),
        lambda: raw.steered_plain(steer).__enter__(),
        lambda: vector.check(raw),
        lambda: ist.fit_steps(processed, pairs, n_steps=2).check(raw),
        lambda: ist.conditions.Condition(vector.at(1), 0.1).fires(raw, prompts),
        lambda: ist.interchange.write(vector, tmp_path / "a.pt", format="lm_eval"),
        lambda: ist.interchange.write(vector, tmp_path / "a.gguf", format="repeng"),
        lambda: ist.interchange.write(steer, tmp_path / "b.pt", format="lm_eval"),
        lambda: ist.interchange.write(
            vector.at(1).add(1.0), tmp_path / "b.gguf", format="llama_cpp"
        ),
    ]
    for attempt in mixed:
        with pytest.raises(BasisError, match=said):
            attempt()
    assert not any(tmp_path.iterdir())
    with pytest.raises(BasisError, match=r"from unprocessed weights .* are processed \(norms fo"):
        ist.generate(processed, prompts, [other.at(1).project()])
    for joined in (
        lambda: vector + other,
        lambda: vector.matched(other),
        lambda: vector.cosine(other),
    ):
        with pytest.raises(VectorError, match=r"has basis processed .* of the same basis"):
            joined()


def test_composed_interventions_are_checked_edit_by_edit(
    tiny: Callable[[str], HookedLM], pairs: ContrastSet
) -> None:
    raw = tiny("llama3")
    vector = ist.fit(raw, pairs)
    mixed = vector.at(1).add(1.0) + replace(vector.at(2), basis=FOLDED).add(1.0)
    assert mixed.bases == {UNPROCESSED, FOLDED}
    with pytest.raises(BasisError, match="cannot act"):
        ist.generate(raw, ["Sea?"], mixed)


# ----------------------------------------------------------------------- what wrap takes
def test_only_a_hooked_transformer_is_one(tiny: Callable[[str], HookedLM]) -> None:
    fake = type("HookedTransformer", (), {})()  # of somebody else's
    theirs = type("HookedTransformer", (), {"__module__": "transformer_lens.HookedTransformer"})
    mine = type("Mine", (theirs,), {})
    assert not any(map(is_hooked_transformer, (fake, tiny("llama3").bridge, None)))
    assert is_hooked_transformer(theirs()) and is_hooked_transformer(mine())
    for other in (fake, tiny("llama3").plain, tiny("llama3"), "gpt2", None):
        with pytest.raises(ModelError, match=r"a TransformerBridge or a HookedTransformer, not a"):
            ist.wrap(other)


# ----------------------------------------------------------------------- the cache
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_rows_of_transformer_lens_own_cache_come_and_go_as_in_ours(data: st.DataObject) -> None:
    heads, d_head = 2, 3
    cfg = type("Cfg", (), {})()
    cfg.n_layers, cfg.n_heads, cfg.n_key_value_heads, cfg.d_head = 2, 4, heads, d_head
    cfg.dtype, cfg.device = torch.float32, "cpu"

    def filled(rows: int, width: int) -> tuple[TransformerCache, RowCache]:
        theirs, ours = TransformerCache(cfg, torch.device("cpu")), RowCache()
        held = theirs.held(rows)
        held.append_attention_mask(torch.ones(rows, width, dtype=torch.int))
        for layer in range(cfg.n_layers):
            keys, values = torch.randn(2, rows, width, heads, d_head)
            held[layer].append(keys, values)
            ours.update(keys.transpose(1, 2), values.transpose(1, 2), layer)
        return theirs, ours

    few = st.integers(1, 4)
    theirs, ours = filled(rows := data.draw(few), width := data.draw(few))
    kept = torch.tensor(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, unique=True)))
    first = data.draw(st.integers(0, width - 1))
    joining = filled(data.draw(few), data.draw(few))
    for one, other in ((theirs, joining[0]), (ours, joining[1])):
        one.keep(kept, first)
        one.join(other)
    for layer, (keys, values) in enumerate(ours.filled):
        held = theirs.held(0)
        assert torch.equal(held[layer].past_keys, keys.transpose(1, 2))
        assert torch.equal(held[layer].past_values, values.transpose(1, 2))
        assert held.previous_attention_mask.shape == held[layer].past_keys.shape[:2]
        # What the mask hides is what was padded.
        hidden = ~held.previous_attention_mask.bool()
        assert not held[layer].past_keys[hidden].any()
