"""``HookedTransformer`` and the bridge of TransformerLens 3.9: one checkpoint, the same results.

``make test-legacy`` makes their environment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformer_lens
from torch import Tensor

import interp_steer as ist
from interp_steer.capture.activations import capture_moments
from interp_steer.contrast.contrast_set import ContrastSet
from interp_steer.errors import BasisError, ModelError, VectorError
from interp_steer.generation.decoding import EARLY_STOP_EVERY
from interp_steer.generation.sampling import Sampling
from interp_steer.geometry.propagation import propagate
from interp_steer.interventions.intervention import Intervention
from interp_steer.models import bundled
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import COMPONENTS, Site
from tests.legacy.conversion import hooked_transformer
from tests.support import checkpoints
from tests.support.checkpoints import fingerprint_follows
from tests.support.steering import PROMPTS, direction, various

if "HookedTransformer" not in vars(transformer_lens):
    pytest.skip(
        "this TransformerLens has no HookedTransformer, which 3.9 has: make test-legacy",
        allow_module_level=True,
    )

PROCESSED = {
    "fold_ln": True,
    "center_writing_weights": True,
    "center_unembed": True,
    "fold_value_biases": True,
}
every_architecture = pytest.mark.parametrize("architecture", checkpoints.ARCHITECTURES)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Wrapped = Callable[..., HookedLM]


@pytest.fixture(scope="session")
def converted(checkpoint: Callable[[str], Path]) -> Wrapped:
    """From an architecture and its processing to the wrapped ``HookedTransformer``."""

    @cache
    def made(architecture: str, processed: bool = False) -> HookedLM:
        steps = dict(PROCESSED if processed else {})
        if architecture == "gemma2":  # whose logits are capped: they are not to be centred
            steps["center_unembed"] = False
        return ist.wrap(hooked_transformer(checkpoint(architecture), **steps))

    return made


@pytest.fixture(scope="session")
def converted_burattino() -> HookedLM:
    return ist.wrap(hooked_transformer(bundled.bundled_path("burattino-instruct")))


@pytest.fixture(scope="module")
def pairs() -> ContrastSet:
    return ist.world.instruction("change_case:english_lowercase", fit=6, select=2, test=3)


def logits(model: HookedLM, *steering: Intervention) -> Tensor:
    """Of every token of the prompts, padded together."""
    batch = model.pad(model.tokenize(PROMPTS))
    with torch.inference_mode(), model.steered(*steering) as root:
        return root(batch.tokens, attention_mask=batch.attention_mask)[batch.mask]


def close(found: Tensor, expected: Tensor, share: float = 1e-4) -> None:
    """Up to a share of the largest number."""
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=share * scale)


# ----------------------------------------------------------------------- what is wrapped
@every_architecture
def test_it_is_the_checkpoints_model(
    architecture: str, converted: Wrapped, tiny: Callable[[str], HookedLM]
) -> None:
    model, bridge = converted(architecture), tiny(architecture)
    close(logits(model), logits(bridge))
    for what in ("name", "n_layers", "d_model", "n_heads", "d_head", "dtype", "device", "basis"):
        assert getattr(model, what) == getattr(bridge, what), what
    assert (model.stop_ids, model.stop_strings) == (bridge.stop_ids, bridge.stop_strings)
    assert model.tokenize(PROMPTS) == bridge.tokenize(PROMPTS)
    assert model.bridge.run_with_hooks(torch.tensor([[5, 6]])).shape[:2] == (1, 2)
    assert not model.has_hooks and not model.has_twin


@every_architecture
def test_a_write_does_what_it_does_on_the_bridge(
    architecture: str, converted: Wrapped, tiny: Callable[[str], HookedLM]
) -> None:
    model, bridge = converted(architecture), tiny(architecture)
    before = logits(model)
    for component in COMPONENTS:
        for layer in (0, 2):
            steer = direction(bridge, f"{component}.{layer}").add(5.0)
            found = logits(model, steer)
            close(found, logits(bridge, steer))
            assert not torch.allclose(found, before, atol=1e-3), (component, layer)
    assert torch.equal(logits(model), before)


def test_the_fingerprint_changes_with_any_weight(checkpoint: Callable[[str], Path]) -> None:
    model = ist.wrap(hooked_transformer(checkpoint("qwen2")), check=False)
    fingerprint_follows(model, model.bridge.parameters())
    first = model.fingerprint
    model.bridge.cfg.eps *= 2
    assert model.fingerprint != first


# ----------------------------------------------------------------------- capture
@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("architecture", ["llama3", "gemma2", "gpt2"])
def test_a_vector_is_the_same_on_both(
    architecture: str,
    component: str,
    pairs: ContrastSet,
    converted: Wrapped,
    tiny: Callable[[str], HookedLM],
) -> None:
    on_both = converted(architecture), tiny(architecture)
    found, expected = (
        ist.fit(model, pairs, component=component, position="all") for model in on_both
    )
    close(found.directions, expected.directions)
    close(found.targets, expected.targets)
    close(found.baseline, expected.baseline)
    assert found.card.basis == expected.card.basis == "unprocessed"
    assert found.check(on_both[0]) is found
    with pytest.raises(VectorError, match="its weights were"):
        found.check(on_both[1])  # another model's weights, as far as anyone can tell


@pytest.mark.parametrize("positions", ["all", 1, "generated"])
def test_a_capture_is_the_same_on_both(
    positions: str | int, converted: Wrapped, tiny: Callable[[str], HookedLM]
) -> None:
    sites = [Site("resid_post", 1), Site("z", 2)]
    found, expected = (
        capture_moments(model, PROMPTS, sites, positions, second_moments=True, max_new_tokens=6)
        for model in (converted("llama3"), tiny("llama3"))
    )
    assert torch.equal(found.count, expected.count)
    for site in sites:
        close(found.mean[site], expected.mean[site])
        close(found.scatter[site], expected.scatter[site])


def test_the_bundled_llama_has_the_same_vectors_and_steered_answers(
    converted_burattino: HookedLM, burattino_instruct: HookedLM, pairs: ContrastSet
) -> None:
    on_both = converted_burattino, burattino_instruct
    found, expected = (ist.fit(model, pairs) for model in on_both)
    close(found.directions, expected.directions)
    stepped = [ist.fit_steps(model, pairs, n_steps=4, layers=[3, 4]) for model in on_both]
    close(stepped[0].directions, stepped[1].directions)
    queries = ["Tell me about the castle.", "What is a whale?", "Describe the sea."]
    answers = [
        ist.generate(model, queries, vector.at(5).project(), max_new_tokens=24)
        for model, vector in zip(on_both, (found, expected), strict=True)
    ]
    assert answers[0] == answers[1]
    assert answers[0] != ist.generate(on_both[0], queries, max_new_tokens=24)


# ----------------------------------------------------------------------- generation
@every_architecture
def test_steered_greedy_tokens_are_the_bridges(
    architecture: str, converted: Wrapped, tiny: Callable[[str], HookedLM]
) -> None:
    model, bridge = converted(architecture), tiny(architecture)
    steering = various(bridge)
    expected = ist.generate(bridge, PROMPTS, steering, max_new_tokens=12)
    # Of three rows at a time each that ends makes room for another, padded anew.
    for given in ({}, {"batch_size": 3}, {"batch_size": 1}, {"use_cache": False}):
        found = ist.generate(model, PROMPTS, steering, max_new_tokens=12, **given)
        assert found == expected, given


def test_rows_that_leave_and_join_the_cache_do_not_change_the_others(converted: Wrapped) -> None:
    model, n = converted("llama3"), 3 * EARLY_STOP_EVERY
    alone = [ist.generate(model, [prompt], max_new_tokens=n)[0] for prompt in PROMPTS]
    found = ist.generate(
        model,
        PROMPTS,
        max_new_tokens=n,
        batch_size=2,
        options=ist.GenerationOptions(early_stop=lambda row, _: row % 2 == 0),
    )
    for row, (one, whole) in enumerate(zip(found, alone, strict=True)):
        assert one.tokens == whole.tokens[: len(one.tokens)]
        assert (one == whole) == (row % 2 == 1)


def test_what_is_sampled_and_how_likely_it_is_are_the_same_on_both(
    converted: Wrapped, tiny: Callable[[str], HookedLM]
) -> None:
    on_both = converted("llama3"), tiny("llama3")
    steer = direction(on_both[1], "resid_post.2").add(3.0)
    drawn = [
        ist.generate(model, PROMPTS, steer, sampling=Sampling(seed=3), max_new_tokens=8)
        for model in on_both
    ]
    assert drawn[0] == drawn[1]
    answers = [one.text or "." for one in drawn[0]]
    found, expected = (ist.logprobs(model, PROMPTS, answers, steer) for model in on_both)
    for one, other in zip(found, expected, strict=True):
        close(one.logprobs, other.logprobs)


@every_architecture
def test_the_logits_of_a_pass_are_the_models_own(architecture: str, converted: Wrapped) -> None:
    model = converted(architecture)
    batch = model.pad(model.tokenize(PROMPTS))
    with torch.inference_mode():
        expected = model.bridge(batch.tokens, attention_mask=batch.attention_mask)
        found = model.wrapped.forward(batch, None, 3)
    assert found is not None
    close(found, expected[:, -3:])
    assert model.wrapped.forward(batch, None, 0) is None


def test_a_shift_is_followed_through_the_layers(
    converted_burattino: HookedLM, pairs: ContrastSet
) -> None:
    model = converted_burattino
    found = propagate(model, PROMPTS[:2], ist.fit(model, pairs).at(3), [0.0, 4.0])
    assert not found.kl[0].any() and bool((found.kl[1] > 1e-6).all())
    with torch.inference_mode():
        rows = torch.randn(3, model.d_model)
        expected = model.bridge.unembed(model.bridge.ln_final(rows[None]))[0]
    close(model.wrapped.readout(rows), expected)


def test_hooks_of_ones_own_are_seen_and_stay(converted: Wrapped) -> None:
    model = converted("llama3")
    before = ist.generate(model, PROMPTS, max_new_tokens=4)
    steer = direction(model, "resid_post.1").add(20.0)
    with model.bridge.hooks(fwd_hooks=steer.fwd_hooks()):
        assert model.has_hooks
        within = ist.generate(model, PROMPTS, max_new_tokens=4)
        with pytest.raises(RuntimeError, match="stop"), model.steered(steer):
            raise RuntimeError("stop")
        assert ist.generate(model, PROMPTS, max_new_tokens=4) == within
    expected = ist.generate(model, PROMPTS, steer, max_new_tokens=4)
    assert [one.tokens for one in within] == [one.tokens for one in expected]
    assert ist.generate(model, PROMPTS, max_new_tokens=4) == before != within


# ----------------------------------------------------------------------- processed weights
@every_architecture
def test_processed_weights_predict_the_same_and_say_what_they_are(
    architecture: str, converted: Wrapped, tiny: Callable[[str], HookedLM]
) -> None:
    model, raw = converted(architecture, processed=True), tiny(architecture)
    close(logits(model).log_softmax(-1), logits(raw).log_softmax(-1))
    steps = ["norms folded"]
    if architecture == "gpt2":
        steps.append("writing weights centred")
    if architecture in ("gpt2", "qwen2"):
        steps.append("value biases folded")
    assert model.basis == f"processed ({', '.join(steps)})"


def test_each_step_of_processing_is_found(checkpoint: Callable[[str], Path]) -> None:
    said = {
        "center_writing_weights": "processed (writing weights centred)",
        "fold_value_biases": "processed (value biases folded)",
        "fold_ln": "processed (norms folded)",
        "center_unembed": "unprocessed",
    }
    for step, basis in said.items():
        model = hooked_transformer(checkpoint("gpt2"), **{step: True})
        assert ist.wrap(model).basis == basis, step
    turned = hooked_transformer(checkpoint("gpt2"))
    turned.process_weights_(
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        refactor_factored_attn_matrices=True,
    )
    assert ist.wrap(turned).basis == "processed (value biases folded, heads rotated)"


def test_half_precision_hides_no_step(checkpoint: Callable[[str], Path]) -> None:
    for processed in (False, True):
        steps = PROCESSED if processed else {}
        model = ist.wrap(hooked_transformer(checkpoint("gpt2"), dtype=torch.bfloat16, **steps))
        assert model.dtype == torch.bfloat16
        assert ("writing weights centred" in model.basis) == processed
        assert len(ist.generate(model, PROMPTS, various(model), max_new_tokens=3)) == len(PROMPTS)


def test_centred_weights_have_another_residual_stream(
    converted: Wrapped, pairs: ContrastSet
) -> None:
    raw, processed = (ist.fit(converted("gpt2", p), pairs) for p in (False, True))
    centred = raw.directions - raw.directions.mean(dim=-1, keepdim=True)
    close(processed.directions, centred, 1e-3)
    assert not torch.allclose(raw.directions, centred, atol=0.01)


def test_bases_do_not_mix(
    converted: Wrapped, tiny: Callable[[str], HookedLM], pairs: ContrastSet, tmp_path: Path
) -> None:
    model, raw = converted("gpt2", processed=True), tiny("gpt2")
    vector = ist.fit(model, pairs)
    assert vector.check(model) is vector
    vector.save(tmp_path / "v.safetensors")
    again = ist.SteeringVector.load(tmp_path / "v.safetensors")
    assert again.card.basis == model.basis
    steer = again.at(2).project()
    assert ist.generate(model, PROMPTS[:1], steer, max_new_tokens=2)
    said = r"processed \(norms folded, .*\) weights and cannot act on .* unprocessed: .*ist.fit"
    for mixed in (
        lambda: ist.generate(raw, PROMPTS[:1], steer),
        lambda: ist.logprobs(raw, PROMPTS[:1], ["x"], steer),
        lambda: raw.steered(steer).__enter__(),
        lambda: raw.steered_plain(steer).__enter__(),
        lambda: again.check(raw),
        lambda: ist.conditions.Condition(again.at(2), 0.1).fires(raw, PROMPTS),
        lambda: ist.interchange.write(again, tmp_path / "v.pt", format="lm_eval"),
        lambda: ist.interchange.write(again, tmp_path / "w.pt", format="steering_vectors"),
        lambda: ist.interchange.write(steer, tmp_path / "x.pt", format="lm_eval"),
    ):
        with pytest.raises(BasisError, match=said):
            mixed()
    theirs = ist.fit(raw, pairs)
    with pytest.raises(BasisError, match=r"from unprocessed weights .* whose weights are proc"):
        ist.generate(model, PROMPTS[:1], theirs.at(2).project())
    for both in (
        lambda: again + theirs,
        lambda: again.cosine(theirs),
        lambda: again.matched(theirs),
    ):
        with pytest.raises(VectorError, match=r"has basis processed .* of the same basis"):
            both()


def test_a_vector_crosses_between_the_two_kinds_in_one_basis(
    converted: Wrapped, tiny: Callable[[str], HookedLM], pairs: ContrastSet
) -> None:
    model, bridge = converted("llama3"), tiny("llama3")
    steer = ist.fit(model, pairs).at(1).shift(2.0)
    found, expected = (ist.generate(m, PROMPTS, steer, max_new_tokens=8) for m in (model, bridge))
    assert found == expected


# ----------------------------------------------------------------------- what is refused
def test_what_needs_the_plain_model_is_refused(converted: Wrapped, tmp_path: Path) -> None:
    model = converted("llama3")
    steer = direction(model, "resid_post.1").add(1.0)
    said = r"is a HookedTransformer, which has no plain .* load its checkpoint with interp_steer.lo"
    for needs in (
        lambda: model.plain,
        lambda: model.with_own_twin(),
        lambda: model.module_of(Site("z", 1)),
        lambda: ist.generate(model, PROMPTS, options=ist.GenerationOptions(compiled=True)),
        lambda: ist.generate(model, PROMPTS, options=ist.GenerationOptions(through="plain")),
        lambda: ist.interchange.write(steer, tmp_path / "v.pt", format="lm_eval", model=model),
    ):
        with pytest.raises(ModelError, match=said):
            needs()


def test_a_model_without_a_tokenizer_asks_for_one(checkpoint: Callable[[str], Path]) -> None:
    model = hooked_transformer(checkpoint("llama2"))
    tokenizer, model.tokenizer = model.tokenizer, None
    with pytest.raises(ModelError, match="has no tokenizer; pass one as wrap"):
        ist.wrap(model)
    given = ist.wrap(model, tokenizer=tokenizer, name="mine")
    assert given.name == "mine"
    assert len(ist.generate(given, PROMPTS, max_new_tokens=2)) == len(PROMPTS)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("block", r"resid_pre \+ attn_out \+ mlp_out is not resid_post in layer 0"),
        ("heads", "not its output projection of z in layer 0"),
        ("padding", "padding on the left changes the logits"),
        ("cache", "the key-value cache changes the logits"),
        ("deaf", r"resid_pre \+ attn_out \+ mlp_out is not resid_post in layer 0"),
        ("silent", r"the hook points blocks\.1\.hook_resid_pre are not run"),
    ],
)
def test_a_model_that_disagrees_with_itself_is_refused(
    part: str, said: str, checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformer_lens.components import TransformerBlock  # type: ignore[import-not-found]
    from transformer_lens.components.abstract_attention import (  # type: ignore[import-not-found]
        AbstractAttention,
    )
    from transformer_lens.hook_points import HookPoint

    model = hooked_transformer(checkpoint("llama2"))
    forward, mlp = model.forward, TransformerBlock.apply_mlp
    heads = AbstractAttention.calculate_z_scores

    def deaf(self: Any, value: Tensor) -> Tensor:
        self.hook_mlp_out(found := self.mlp(value))  # shown to hooks; what they return is dropped
        return found

    def unmasked(*args: Any, **given: Any) -> Any:
        mask = torch.ones_like(given["attention_mask"])
        return forward(*args, **given | {"attention_mask": mask})

    def forgetful(*args: Any, **given: Any) -> Any:
        return forward(*args, **given | {"past_kv_cache": None})

    if part == "block":
        monkeypatch.setattr(TransformerBlock, "apply_mlp", lambda *given: 1.01 * mlp(*given))
    elif part == "deaf":
        monkeypatch.setattr(TransformerBlock, "apply_mlp", deaf)
    elif part == "heads":
        twice = lambda *given: 2 * heads(*given)  # noqa: E731
        monkeypatch.setattr(AbstractAttention, "calculate_z_scores", twice)
    elif part == "silent":
        model.blocks[1].hook_resid_pre = HookPoint()
    else:
        monkeypatch.setattr(model, "forward", {"padding": unmasked, "cache": forgetful}[part])
    with pytest.raises(ModelError, match=said):
        ist.wrap(model)


def test_a_card_of_an_earlier_version_reads_as_unprocessed(
    converted: Wrapped, pairs: ContrastSet
) -> None:
    card = ist.fit(converted("llama3"), pairs).card
    stored = {key: value for key, value in card.to_flat().items() if key != "basis"}
    assert type(card).read(stored) == replace(
        card, identity=replace(card.identity, basis="unprocessed")
    )
