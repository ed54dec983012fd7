"""Check that the hook points of a loaded model read and write what its checkpoint computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from einops import einsum, rearrange
from torch import Tensor
from transformer_lens.utilities.architectures import POST_NORM_ARCHITECTURES

from interp_steer.errors import ModelError, SiteError
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.hooked_lm import HookedLM, Hooks
from interp_steer.models.sites import COMPONENTS, Site

TOLERANCE = {
    torch.float64: 1e-4,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
"""The largest allowed difference of two computations, as a share of the largest compared number."""

_LONG, _SHORT = 9, 5  # tokens in the two probe rows, so that one row is padded
_STRENGTH = 10.0  # standard deviations of the activation: large enough to be seen in the logits
_RESIDUAL = ("resid_pre", "attn_out", "mlp_out", "resid_post")


def check_both_paths(model: HookedLM) -> None:
    """Check that a model computes, and is steered, as its hook points say.

    A bridge is checked against the checkpoint. One short forward pass of the bridge and one of the
    plain Hugging Face model (eager attention, one row padded on the left) must agree in these ways:

    - the logits are equal;
    - in every layer ``resid_pre + attn_out + mlp_out`` is ``resid_post``, and the attention's
      output is its output projection of ``z``;
    - a vector added at each component of the first, middle and last layer moves the logits as
      it does when a forward hook adds it to the module that ``model.module_of`` names.

    A ``HookedTransformer`` is checked against itself, in these ways:

    - in every layer, in rows with and without a write, ``resid_pre + attn_out + mlp_out`` is
      ``resid_post``, which is the ``resid_pre`` of the next layer; and where no norm follows,
      ``attn_out`` is the output projection of ``z``;
    - a vector added at each component moves the logits;
    - padding on the left does not change the logits, and the cache does not change them.

    "Equal" means equal up to :data:`TOLERANCE` of the largest compared number.

    Args:
        model: a model that is not steered and has no hooks of your own that change its numbers.

    Raises:
        ModelError: when a check fails, with the check and the difference.
    """
    try:
        with torch.inference_mode():
            (_check_against_twin if model.has_twin else _check_alone)(model)
    except SiteError as missing:
        raise _refusal(model, f"a site is missing: {missing}") from missing


def _check_against_twin(model: HookedLM) -> None:
    writes = _writes(model)
    names = _read_names(model.n_layers) + [_attention(layer) for layer in range(model.n_layers)]
    reads = _Reads(names, rows=2)
    batch = _probe(model, n_writes=len(writes))
    with model.steered(reads, *writes) as bridge:
        actual = bridge(batch.tokens, attention_mask=batch.attention_mask).float()
    with model.steered_plain(*writes) as plain:
        expected = plain(
            input_ids=batch.tokens,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
        ).logits.float()
    _check_reads(model, batch, reads, actual, expected)
    scale = expected[0].abs().max().item()
    for write in writes:
        moved, expected_move = (logits[write.row] - logits[0] for logits in (actual, expected))
        _require_same_effect(model, write.site, moved, expected_move, scale)


def _check_alone(model: HookedLM) -> None:
    writes = _writes(model)
    batch = _probe(model, n_writes=len(writes))
    reads = _Reads(_read_names(model.n_layers), rows=len(batch.tokens))
    with model.steered(*writes, reads):  # read after it is written
        actual = model.wrapped.forward(batch, None, _LONG)
    assert actual is not None
    _check_stream(model, batch, reads, writes)
    for write in writes:
        moved = (actual[write.row] - actual[0]).abs().max().item()
        if not moved > 0:
            raise _refusal(model, f"a write at {write.site} does not move the logits")
    short = batch.tokens[1:2, -_SHORT:].tolist()
    alone = model.wrapped.forward(model.pad(short), None, _SHORT)
    assert alone is not None
    padded = actual[1:2, -_SHORT:].float()
    _require_equal(model, "padding on the left changes the logits", padded, alone.float())
    tokens, mask, cache = batch.tokens[:2], batch.mask[:2], model.wrapped.new_cache()
    model.wrapped.forward(PaddedBatch(tokens[:, :-1], mask[:, :-1]), cache, 1)
    last = model.wrapped.forward(PaddedBatch(tokens[:, -1:], mask), cache, 1)
    assert last is not None
    whole = actual[:2, -1:].float()
    _require_equal(model, "the key-value cache changes the logits", last.float(), whole)


def _check_stream(
    model: HookedLM, batch: PaddedBatch, reads: _Reads, writes: Sequence[_Write]
) -> None:
    """Check that the parts of each layer add up, in rows with and without a write."""
    never = [name for name in reads.names if name not in reads.values]
    if never:
        raise _refusal(model, f"the hook points {', '.join(never)} are not run")
    rows = {write.site: write.row for write in writes}

    def check_equal(actual: Tensor, expected: Tensor, written: Site, failure: str) -> None:
        """Check equality in every row but the row with a write in between."""
        mask = batch.mask.clone()
        if written in rows:
            mask[rows[written]] = False
        _require_equal(model, failure, actual[mask].float(), expected[mask].float())

    for layer in range(model.n_layers):
        pre, attention, mlp, post, z = (
            reads.values[Site(component, layer).hook_name] for component in (*_RESIDUAL, "z")
        )
        check_equal(
            pre + attention + mlp,
            post,
            Site("resid_post", layer),
            f"resid_pre + attn_out + mlp_out is not resid_post in layer {layer}",
        )
        if layer + 1 < model.n_layers:
            after = Site("resid_pre", layer + 1)
            failure = f"resid_post of layer {layer} is not resid_pre of layer {layer + 1}"
            check_equal(post, reads.values[after.hook_name], after, failure)
        block = model.bridge.blocks[layer]
        after_a_norm = model.bridge.cfg.original_architecture in POST_NORM_ARCHITECTURES
        if not after_a_norm and not hasattr(block, "ln1_post"):
            written = einsum(
                z, block.attn.W_O, "row pos head d_head, head d_head d_model -> row pos d_model"
            )
            check_equal(
                written + block.attn.b_O,
                attention,
                Site("attn_out", layer),
                f"the attention's output is not its output projection of z in layer {layer}",
            )


def _writes(model: HookedLM) -> list[_Write]:
    """Make writes at each component of the first, middle and last layer, from the third row on."""
    layers = sorted({0, model.n_layers // 2, model.n_layers - 1})
    sites = [Site(component, layer) for component in COMPONENTS for layer in layers]
    return [_Write(site, row, model) for row, site in enumerate(sites, start=2)]


def _check_reads(
    model: HookedLM, batch: PaddedBatch, reads: _Reads, actual: Tensor, expected: Tensor
) -> None:
    """Check the logits and the activations of the first two rows, which have no write."""
    mask = batch.mask[:2]
    _require_equal(
        model,
        "the bridge's logits are not plain Hugging Face's",
        actual[:2][mask],
        expected[:2][mask],
    )
    for layer in range(model.n_layers):
        by_component = {
            component: reads.values[Site(component, layer).hook_name][mask].float()
            for component in _RESIDUAL
        }
        _require_equal(
            model,
            f"resid_pre + attn_out + mlp_out is not resid_post in layer {layer}",
            by_component["resid_pre"] + by_component["attn_out"] + by_component["mlp_out"],
            by_component["resid_post"],
        )
        site = Site("z", layer)
        heads = reads.values[site.hook_name][mask]
        project, _ = model.module_of(site)
        _require_equal(
            model,
            f"the attention's output is not its output projection of z in layer {layer}",
            project(rearrange(heads, "token head d_head -> token (head d_head)")).float(),
            reads.values[_attention(layer)][mask].float(),
        )


@dataclass
class _Write:
    """A hook that adds a vector at a site, in one row of the batch and at all its positions."""

    site: Site
    row: int
    model: HookedLM

    def fwd_hooks(self) -> Hooks:
        shape = self.site.shape(self.model.n_heads, self.model.d_head, self.model.d_model)
        generator = torch.Generator().manual_seed(self.row)
        vector = torch.randn(shape, generator=generator).to(self.model.device)

        def write(value: Tensor, hook: Any) -> Tensor:
            row = value[self.row].float()
            edited = value.clone()
            edited[self.row] = (row + _STRENGTH * row.std() * vector).to(value.dtype)
            return edited

        return [(self.site.hook_name, write)]


@dataclass
class _Reads:
    """Hooks that store the activations at hook points, in the first rows."""

    names: list[str]
    rows: int
    values: dict[str, Tensor] = field(default_factory=dict)

    def fwd_hooks(self) -> Hooks:
        return [(name, partial(self._store, name=name)) for name in self.names]

    def _store(self, value: Tensor, hook: Any, name: str) -> None:
        self.values[name] = value[: self.rows].clone()


def _read_names(n_layers: int) -> list[str]:
    return [
        Site(component, layer).hook_name
        for layer in range(n_layers)
        for component in (*_RESIDUAL, "z")
    ]


def _attention(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_out"  # before any norm that may follow it


def _probe(model: HookedLM, n_writes: int) -> PaddedBatch:
    # Any tokens work; these are spread over the vocabulary, without the stop tokens.
    usable = [token for token in range(model.wrapped.n_embeddings) if token not in model.stop_ids]
    long = [usable[(index * len(usable)) // _LONG] for index in range(_LONG)]
    return model.pad([long, long[1 : 1 + _SHORT], *([long] * n_writes)])


def _require_equal(model: HookedLM, failure: str, actual: Tensor, expected: Tensor) -> None:
    allowed = TOLERANCE.get(model.dtype, 1e-4) * expected.abs().max().item()
    difference = (actual - expected).abs().max().item()
    if not difference <= allowed:  # a NaN fails as well
        raise _refusal(model, f"{failure}: they differ by {difference:.2e}, {allowed:.2e} allowed")


def _require_same_effect(
    model: HookedLM, site: Site, actual: Tensor, expected: Tensor, scale: float
) -> None:
    effect = expected.abs().max().item()
    difference = (actual - expected).abs().max().item()
    # In half precision the tolerance may exceed the whole effect of a write, so that half of the
    # effect is the limit.
    allowed = min(TOLERANCE.get(model.dtype, 1e-4) * scale, effect / 2)
    if not (effect > 0 and difference <= allowed):
        raise _refusal(
            model,
            f"a write at {site} does not do on the bridge what a forward hook does on plain "
            f"Hugging Face: the hook moves the logits by {effect:.2e}, and the two differ by "
            f"{difference:.2e}, {allowed:.2e} allowed",
        )


def _refusal(model: HookedLM, failure: str) -> ModelError:
    return ModelError(
        f"{model.describe()} failed its self-check and would give wrong results: {failure}. "
        "Remove hooks and weight processing of your own, or try another TransformerLens version; "
        "check=False loads the model without the check, to examine it"
    )
