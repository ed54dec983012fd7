"""Loading: the numbers are the checkpoint's, and what cannot be used is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from inspect import unwrap
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from interp_steer.capture.activations import capture_moments
from interp_steer.errors import ModelError, SiteError
from interp_steer.generation.completions import generate
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.fingerprint import compute_fingerprint
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import _load_weights, load, wrap
from interp_steer.models.sites import COMPONENTS, Site
from tests.support.checkpoints import ARCHITECTURES, fingerprint_follows, write_checkpoint

PROMPTS = ["Tell me about the castle and the sea, in two short sentences.", "Hello."]

every_architecture = pytest.mark.parametrize("model", ARCHITECTURES, indirect=True)


@dataclass(frozen=True)
class Add:
    """Adds a random vector at a site, the same one at every position."""

    site: Site
    amount: float

    def fwd_hooks(self) -> list[tuple[str, Any]]:
        def add(value: Tensor, hook: Any) -> Tensor:
            generator = torch.Generator().manual_seed(0)
            return value + self.amount * torch.randn(value.shape[2:], generator=generator)

        return [(self.site.hook_name, add)]


def bridge_logits(model: HookedLM, batch: PaddedBatch) -> Tensor:
    with torch.inference_mode():
        return model.bridge(batch.tokens, attention_mask=batch.attention_mask)[batch.mask]


def plain_logits(plain: Any, batch: PaddedBatch) -> Tensor:
    with torch.inference_mode():
        return plain(
            input_ids=batch.tokens,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
        ).logits[batch.mask]


# ----------------------------------------------------------------------- the numbers
@every_architecture
def test_logits_are_the_checkpoints(model: HookedLM, checkpoint: Callable[[str], Path]) -> None:
    folder = checkpoint(model.name.removeprefix("tiny-"))
    batch = model.pad(model.tokenize(PROMPTS))
    on_disk = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    eager = plain_logits(on_disk, batch)
    torch.testing.assert_close(bridge_logits(model, batch), eager, rtol=0, atol=1e-5)
    on_disk.set_attn_implementation(model.plain.config._attn_implementation)
    expected = plain_logits(on_disk, batch)
    torch.testing.assert_close(plain_logits(model.plain, batch), expected, rtol=0, atol=0)


@every_architecture
def test_plain_shares_every_parameter_and_is_clean(model: HookedLM, tmp_path: Path) -> None:
    held = {tensor.data_ptr() for tensor in model.bridge.original_model.parameters()}
    assert {tensor.data_ptr() for tensor in model.plain.parameters()} <= held
    assert not any(isinstance(module, GeneralizedComponent) for module in model.plain.modules())
    model.plain.save_pretrained(tmp_path)
    attention = model.plain.config._attn_implementation
    again = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation=attention).eval()
    batch = model.pad(model.tokenize(PROMPTS))
    assert torch.equal(plain_logits(again, batch), plain_logits(model.plain, batch))


@every_architecture
def test_a_write_on_the_bridge_is_the_same_write_on_the_plain_model(model: HookedLM) -> None:
    batch = model.pad(model.tokenize(PROMPTS))
    untouched = plain_logits(model.plain, batch)
    for component in COMPONENTS:
        for site in model.sites(component):
            add = Add(site, 0.5)
            with model.steered(add):
                found = bridge_logits(model, batch)
            with model.steered_plain(add) as plain:
                expected = plain_logits(plain, batch)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
            assert not torch.allclose(expected, untouched, atol=1e-4), site
    assert torch.equal(plain_logits(model.plain, batch), untouched)


@every_architecture
def test_module_of_reads_what_the_hook_point_reads(model: HookedLM) -> None:
    batch = model.pad(model.tokenize(PROMPTS))
    seen: dict[Site, Tensor] = {}
    handles = []
    all_sites = [site for component in COMPONENTS for site in model.sites(component)]
    for site in all_sites:
        module, side = model.module_of(site)

        def on_input(_: Any, args: tuple[Tensor, ...], site: Site = site) -> None:
            seen[site] = args[0]

        def on_output(_: Any, args: Any, output: Any, site: Site = site) -> None:
            seen[site] = output[0] if isinstance(output, tuple) else output

        if side == "input":
            handles.append(module.register_forward_pre_hook(on_input))
        else:
            handles.append(module.register_forward_hook(on_output))
    plain_logits(model.plain, batch)
    for handle in handles:
        handle.remove()
    with torch.inference_mode():
        _, cache = model.bridge.run_with_cache(
            batch.tokens, attention_mask=batch.attention_mask, return_cache_object=False
        )
    for site in all_sites:
        on_bridge = cache[site.hook_name].flatten(2)[batch.mask]
        torch.testing.assert_close(seen[site][batch.mask], on_bridge, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "component", "name", "side"),
    [
        ("llama3", "resid_post", "model.layers.1", "output"),
        ("llama3", "resid_pre", "model.layers.1", "input"),
        ("phi3", "z", "model.layers.1.self_attn.o_proj", "input"),
        ("gemma2", "attn_out", "model.layers.1.post_attention_layernorm", "output"),
        ("gemma2", "mlp_out", "model.layers.1.post_feedforward_layernorm", "output"),
        ("mistral", "attn_out", "model.layers.1.self_attn", "output"),
        ("gpt2", "z", "transformer.h.1.attn.c_proj", "input"),
        ("gpt2", "mlp_out", "transformer.h.1.mlp", "output"),
    ],
)
def test_module_of_names_the_hugging_face_module(
    architecture: str, component: str, name: str, side: str, tiny: Callable[[str], HookedLM]
) -> None:
    model = tiny(architecture)
    assert model.module_of(Site(component, 1)) == (model.plain.get_submodule(name), side)


def test_steering_leaves_no_hook_behind_even_after_an_error(model: HookedLM) -> None:
    batch = model.pad(model.tokenize(PROMPTS))
    before = bridge_logits(model, batch)
    # transformers leaves hooks of its own there once hidden states have been asked for
    theirs = [dict(module._forward_hooks) for module in model.plain.modules()]
    mine = Add(Site("resid_pre", 0), 0.5)
    with model.bridge.hooks(fwd_hooks=mine.fwd_hooks()):
        with_mine = bridge_logits(model, batch)
        with pytest.raises(RuntimeError, match="stop"), model.steered(Add(Site("z", 1), 1.0)):
            raise RuntimeError("stop")
        assert torch.equal(bridge_logits(model, batch), with_mine)  # a hook of one's own stays
    with pytest.raises(RuntimeError, match="stop"), model.steered_plain(Add(Site("z", 1), 1.0)):
        raise RuntimeError("stop")
    assert not torch.equal(with_mine, before)
    assert torch.equal(bridge_logits(model, batch), before)
    assert [dict(module._forward_hooks) for module in model.plain.modules()] == theirs


def test_steering_where_the_model_has_no_site_is_refused(model: HookedLM) -> None:
    beyond = Add(Site("resid_post", 9), 1.0)
    refused = r"no hook point 'blocks\.9\.hook_resid_post'; .*0 to 3"
    with pytest.raises(SiteError, match=refused), model.steered(beyond):
        pass
    refused = r"not a site of tiny-llama3 .*resid_pre, .*0 to 3"
    with pytest.raises(SiteError, match=refused), model.steered_plain(beyond):
        pass
    with pytest.raises(SiteError, match="the model has 4 layers; use a layer from 0 to 3"):
        model.module_of(Site("z", 4))
    with pytest.raises(SiteError, match="unknown component 'resid'"):
        model.sites("resid")


def test_the_dtype_is_what_the_configuration_says_whatever_the_weights_are_stored_in(
    tmp_path: Path,
) -> None:
    folder = write_checkpoint("llama2", tmp_path, dtype=torch.bfloat16)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))
    model = load(folder)
    assert model.dtype == torch.float32
    best = "cuda" if torch.cuda.is_available() else "mps"
    best = best if best == "cuda" or torch.backends.mps.is_available() else "cpu"
    assert model.device.type == best


# ----------------------------------------------------------------------- wrap
@every_architecture
def test_wrapping_ones_own_bridge_gives_the_same_model(
    model: HookedLM, checkpoint: Callable[[str], Path]
) -> None:
    folder = checkpoint(model.name.removeprefix("tiny-"))
    wrapped = wrap(TransformerBridge.boot_transformers(str(folder), device="cpu"))
    assert wrapped.name == model.name
    assert wrapped.fingerprint == model.fingerprint
    assert wrapped.stop_ids == model.stop_ids
    assert wrapped.tokenize(PROMPTS) == model.tokenize(PROMPTS)
    held = {tensor.data_ptr() for tensor in wrapped.bridge.original_model.parameters()}
    assert {tensor.data_ptr() for tensor in wrapped.plain.parameters()} <= held
    batch = model.pad(model.tokenize(PROMPTS))
    assert torch.equal(plain_logits(wrapped.plain, batch), plain_logits(model.plain, batch))


@pytest.mark.parametrize("processed", [False, True])
def test_a_bridge_in_compatibility_mode_is_checked_against_its_own_weights(
    processed: bool, checkpoint: Callable[[str], Path], tiny: Callable[[str], HookedLM]
) -> None:
    bridge = TransformerBridge.boot_transformers(str(checkpoint("llama3")), device="cpu")
    bridge.enable_compatibility_mode(no_processing=not processed)
    wrapped, raw = wrap(bridge), tiny("llama3")
    assert (wrapped.fingerprint == raw.fingerprint) != processed
    batch = raw.pad(raw.tokenize(PROMPTS))
    found, expected = (bridge_logits(one, batch).log_softmax(-1) for one in (wrapped, raw))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_wrap_takes_a_bridge_and_nothing_else(model: HookedLM) -> None:
    with pytest.raises(ModelError, match="not a LlamaForCausalLM; boot one with"):
        unwrap(wrap)(model.plain)  # past the type checks that the tests run with


def test_the_fingerprint_changes_with_any_weight_and_comes_back(
    checkpoint: Callable[[str], Path],
) -> None:
    model = load(checkpoint("llama3"), device="cpu", check=False)
    fingerprint_follows(model, model.plain.parameters())
    first = model.fingerprint
    model.plain.config.rms_norm_eps *= 2
    assert model.fingerprint != first


def test_the_fingerprint_sees_single_weights_and_swaps_in_large_matrices() -> None:
    model = torch.nn.Linear(1024, 512, bias=False)  # two megabytes: summed, not hashed whole
    model.config = LlamaConfig()  # type: ignore[assignment]
    read = unwrap(compute_fingerprint)
    weight, first = model.weight.data, read(model)
    old = weight.clone()
    for changed in (
        old.index_put((torch.tensor(300), torch.tensor(3)), old[300, 3] * 1.0001),
        old[[1, 0, *range(2, 512)]],
        old[:, [1, 0, *range(2, 1024)]],
    ):
        weight.copy_(changed)
        assert read(model) != first
    weight.copy_(old)
    assert read(model) == first


def test_architectures_have_different_fingerprints(tiny: Callable[[str], HookedLM]) -> None:
    found = {tiny(architecture).fingerprint for architecture in ARCHITECTURES}
    assert len(found) == len(ARCHITECTURES)
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in found)


def test_a_model_says_what_it_is(tiny: Callable[[str], HookedLM]) -> None:
    model = tiny("mistral")
    assert model.describe() == "tiny-mistral (4 layers, d_model 64)"
    assert (model.n_layers, model.d_model, model.n_heads, model.d_head) == (4, 64, 4, 24)
    assert model.max_positions == 256
    assert model.revision is None
    assert model.sites() == tuple(Site("resid_post", layer) for layer in range(4))


# ----------------------------------------------------------------------- several devices
@pytest.mark.parametrize("architecture", ["llama3", "gpt2", "gemma2"])
def test_a_model_that_is_spread_over_devices_is_the_same(
    architecture: str,
    checkpoint: Callable[[str], Path],
    tiny: Callable[[str], HookedLM],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is one device here, but every module gets the hooks that move what enters it."""
    whole, plainly = tiny(architecture), _load_weights
    prefix = whole.plain.base_model_prefix
    places = {f"{prefix}.{name}": "cpu" for name, _ in whole.plain.base_model.named_children()}

    def dispatched(*given: Any) -> Any:
        return accelerate.dispatch_model(
            plainly(*given), device_map={**places, "lm_head": "cpu"}, force_hooks=True
        )

    monkeypatch.setattr("interp_steer.models.loading._load_weights", dispatched)
    spread = load(checkpoint(architecture), device_map="auto")
    assert any(hasattr(module, "_hf_hook") for module in spread.plain.modules())
    assert spread.fingerprint == whole.fingerprint
    steer = Add(Site("resid_post", 1), 3.0)
    batch = whole.pad(whole.tokenize(PROMPTS))
    with whole.steered_plain(steer) as one, spread.steered_plain(steer) as other:
        torch.testing.assert_close(plain_logits(one, batch), plain_logits(other, batch))
    for one, other in zip(
        capture_moments(whole, PROMPTS).mean.values(),
        capture_moments(spread, PROMPTS).mean.values(),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    given = {"max_new_tokens": 5, "batch_size": 1}
    assert [a.tokens for a in generate(whole, PROMPTS, **given)] == [
        a.tokens for a in generate(spread, PROMPTS, **given)
    ]


def test_weights_that_are_left_on_the_disk_are_refused(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    places = {"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu"}
    with pytest.raises(ModelError, match=r"leaves \d+ weights .* off its devices"):
        load(
            checkpoint("llama2"), device_map={**places, "model.rotary_emb": "cpu", "lm_head": "cpu"}
        )
    with pytest.raises(ModelError, match="give one of the two"):
        load(checkpoint("llama2"), device="cpu", device_map="auto")


# ----------------------------------------------------------------------- what cannot be loaded
def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(
        ModelError, match=r"'some/name' is neither .*hub could not be reached.*burattino-instruct"
    ):
        load("some/name")
    with pytest.raises(ModelError, match=r"'some/name' at revision 'v2' is neither"):
        load("some/name", revision="v2")
    with pytest.raises(ModelError, match=r"folder '\./nowhere/at/all' does not exist; give"):
        load("./nowhere/at/all")


def test_a_folder_that_is_no_checkpoint_says_what_it_lacks(
    tmp_path: Path, checkpoint: Callable[[str], Path]
) -> None:
    with pytest.raises(ModelError, match=r"is not a checkpoint: config\.json is missing; give"):
        load(tmp_path)
    shutil.copy(checkpoint("llama3") / "config.json", tmp_path)
    with pytest.raises(ModelError, match=r"no tokenizer .*tokenizer\.save_pretrained"):
        load(tmp_path)
    for file in checkpoint("llama3").glob("tokenizer*"):
        shutil.copy(file, tmp_path)
    with pytest.raises(ModelError, match=r"cannot be loaded .*safetensors"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ModelError, match=r"cannot be loaded .*safetensors"):
        load(tmp_path)


def test_pickled_weights_are_never_opened(
    tmp_path: Path, checkpoint: Callable[[str], Path]
) -> None:
    folder = shutil.copytree(checkpoint("llama2"), tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    torch.save(load(checkpoint("llama2")).plain.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are not read"):
        load(folder)


def test_missing_weights_are_not_made_up(tmp_path: Path, checkpoint: Callable[[str], Path]) -> None:
    model = load(checkpoint("llama3"), device="cpu")
    whole = model.plain.state_dict()
    whole.pop("model.layers.2.mlp.up_proj.weight")
    model.plain.save_pretrained(tmp_path, state_dict=whole)
    model.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"lacks 1 weights .*layers\.2\.mlp\.up_proj"):
        load(tmp_path)


def test_the_smallest_real_checkpoint_answers(tinystories: HookedLM) -> None:
    assert tinystories.prompt_format.name == "qa"
    assert (tinystories.n_layers, tinystories.d_model) == (2, 128)
    told = load(
        tinystories.plain.config._name_or_path, device="cpu", prompt_format="{x}", check=False
    )
    batch = told.pad(told.tokenize(["Once upon a time"]))
    with torch.inference_mode():
        following = told.bridge(batch.tokens)[0, -1].argmax().item()
    assert told.decode([following]).startswith((",", " ", "there"))


def test_the_tokenizer_that_is_loaded_is_the_checkpoints(
    checkpoint: Callable[[str], Path], tiny: Callable[[str], HookedLM]
) -> None:
    for architecture in ARCHITECTURES:
        own = AutoTokenizer.from_pretrained(checkpoint(architecture))
        kept = tiny(architecture).tokenizer
        assert (kept.pad_token_id, kept.bos_token_id) == (own.pad_token_id, own.bos_token_id)
