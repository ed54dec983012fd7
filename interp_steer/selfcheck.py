"""The self-check at load: what the bridge reads and writes is what the checkpoint computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from interp_steer.errors import ModelError, SiteError
from interp_steer.hooked import HookedLM, Hooks, PaddedBatch
from interp_steer.sites import COMPONENTS, Site

TOLERANCE = {
    torch.float64: 1e-4,
    torch.float32: 1e-4,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
"""By how much two computations may differ, as a share of the largest number compared."""

_LONG, _SHORT = 9, 5  # tokens in the two probe rows, so that one of them is padded
_STRENGTH = 10.0  # standard deviations of the activation: small beside nothing downstream
_RESIDUAL = ("resid_pre", "attn_out", "mlp_out", "resid_post")


def self_check(model: HookedLM) -> None:
    """Refuse a model whose bridge does not compute, or does not steer, as the checkpoint does.

    One short forward pass of the bridge and one of the plain Hugging Face model (eager attention,
    one row padded on the left) must agree in these ways:

    - the logits are equal;
    - in every layer ``resid_pre + attn_out + mlp_out`` is ``resid_post``, and the attention's
      output is its output projection of ``z``;
    - a vector added at each component of the first, middle and last layer moves the logits as
      it does when a forward hook adds it to the module that ``model.module_of`` names.

    "Equal" is up to :data:`TOLERANCE` of the largest number compared.

    Args:
        model: not steered, and with no hooks of your own that change its numbers.

    Raises:
        ModelError: naming what failed and by how much.
    """
    layers = sorted({0, model.n_layers // 2, model.n_layers - 1})
    sites = [Site(component, layer) for component in COMPONENTS for layer in layers]
    writes = [_Write(site, row, model) for row, site in enumerate(sites, start=2)]
    reads = _Reads(model.n_layers)
    batch = _probe(model, n_writes=len(writes))
    try:
        with torch.inference_mode():
            with model.steered(reads, *writes) as bridge:
                found = bridge(batch.tokens, attention_mask=batch.attention_mask).float()
            with model.steered_plain(*writes) as plain:
                expected = plain(
                    input_ids=batch.tokens,
                    attention_mask=batch.attention_mask,
                    position_ids=batch.position_ids,
                    use_cache=False,
                ).logits.float()
            _check_reads(model, batch, reads, found, expected)
    except SiteError as missing:
        raise _refusal(model, f"a site is missing: {missing}") from missing
    scale = expected[0].abs().max().item()
    for write in writes:
        moved, expected_move = (logits[write.row] - logits[0] for logits in (found, expected))
        _require_same_effect(model, write.site, moved, expected_move, scale)


def _check_reads(
    model: HookedLM, batch: PaddedBatch, reads: _Reads, found: Tensor, expected: Tensor
) -> None:
    """What the first two rows, in which nothing is written, say."""
    mask = batch.mask[:2]
    _require_equal(
        model,
        "the bridge's logits are not plain Hugging Face's",
        found[:2][mask],
        expected[:2][mask],
    )
    for layer in range(model.n_layers):
        kept = {
            component: reads.kept[Site(component, layer).hook_name][mask].float()
            for component in _RESIDUAL
        }
        _require_equal(
            model,
            f"resid_pre + attn_out + mlp_out is not resid_post in layer {layer}",
            kept["resid_pre"] + kept["attn_out"] + kept["mlp_out"],
            kept["resid_post"],
        )
        site = Site("z", layer)
        heads = reads.kept[site.hook_name][mask]
        project, _ = model.module_of(site)
        _require_equal(
            model,
            f"the attention's output is not its output projection of z in layer {layer}",
            project(rearrange(heads, "token head d_head -> token (head d_head)")).float(),
            reads.kept[_attention(layer)][mask].float(),
        )


@dataclass
class _Write:
    """Adds one vector at a site, in one row of the batch and at all its positions."""

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
    """Keeps, of the two rows in which nothing is written, what passes in every layer."""

    n_layers: int
    kept: dict[str, Tensor] = field(default_factory=dict)

    def fwd_hooks(self) -> Hooks:
        names = [
            name
            for layer in range(self.n_layers)
            for name in (
                *(Site(component, layer).hook_name for component in (*_RESIDUAL, "z")),
                _attention(layer),
            )
        ]
        return [(name, partial(self._keep, name=name)) for name in names]

    def _keep(self, value: Tensor, hook: Any, name: str) -> None:
        self.kept[name] = value[:2].clone()


def _attention(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_out"  # before any norm that may follow it


def _probe(model: HookedLM, n_writes: int) -> PaddedBatch:
    # Any tokens do; these are spread over the vocabulary, and no stop token is among them.
    n_rows = model.plain.get_input_embeddings().weight.shape[0]  # type: ignore[union-attr]
    usable = [token for token in range(n_rows) if token not in model.stop_ids]
    long = [usable[(index * len(usable)) // _LONG] for index in range(_LONG)]
    return model.pad([long, long[1 : 1 + _SHORT], *([long] * n_writes)])


def _require_equal(model: HookedLM, failure: str, found: Tensor, expected: Tensor) -> None:
    allowed = TOLERANCE.get(model.dtype, 1e-4) * expected.abs().max().item()
    difference = (found - expected).abs().max().item()
    if not difference <= allowed:  # a NaN fails as well
        raise _refusal(model, f"{failure}: they differ by {difference:.2e}, {allowed:.2e} allowed")


def _require_same_effect(
    model: HookedLM, site: Site, found: Tensor, expected: Tensor, scale: float
) -> None:
    effect = expected.abs().max().item()
    difference = (found - expected).abs().max().item()
    # In half precision the tolerance may exceed a write's whole effect: half of it is the limit.
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
        "check=False loads it as it is, for looking into it"
    )
