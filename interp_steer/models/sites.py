"""Name the sites of a model, at which activations are read and written, and give their shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from interp_steer.errors import SiteError

COMPONENTS = ("resid_pre", "resid_post", "attn_out", "mlp_out", "z")
"""The components that can be read and written in each layer, by TransformerLens' names.

- ``resid_pre``: the residual stream before block k;
- ``attn_out``: the contribution of the attention of block k to the residual stream;
- ``mlp_out``: the contribution of the MLP of block k to the residual stream;
- ``resid_post``: the residual stream after block k, ``resid_pre + attn_out + mlp_out``;
- ``z``: the attention heads' outputs before the output projection, one vector per head.

``resid_mid`` is missing on purpose: on a ``TransformerBridge`` a write there reaches the MLP but
never the residual stream. Steer ``attn_out`` instead: ``resid_pre + attn_out`` is ``resid_mid``.
"""


@dataclass(frozen=True, order=True)
class Site:
    """A component in a layer; layers count from 0.

    Args:
        component: one of :data:`COMPONENTS`.
        layer: the block, from 0; ``resid_post`` of layer k is the output of block k.

    Raises:
        SiteError: for a component that is not in :data:`COMPONENTS` or a negative layer.

    Example:
        >>> Site("resid_post", 5).hook_name
        'blocks.5.hook_resid_post'
        >>> str(Site("z", 2))
        'z.2'
    """

    component: str
    layer: int

    def __post_init__(self) -> None:
        if self.component not in COMPONENTS:
            fix = (
                " (a write at resid_mid never reaches the residual stream of a TransformerBridge; "
                "write at attn_out of the same layer instead)"
                if self.component == "resid_mid"
                else ""
            )
            raise SiteError(
                f"unknown component {self.component!r}{fix}; use one of {', '.join(COMPONENTS)}"
            )
        if isinstance(self.layer, bool) or not isinstance(self.layer, int):
            raise SiteError(f"layer {self.layer!r} is not an integer; layers count from 0")
        if self.layer < 0:
            raise SiteError(f"layer {self.layer} is negative; layers count from 0")

    @property
    def hook_name(self) -> str:
        """Return the name of the TransformerLens hook point, the same for every architecture."""
        inner = "attn.hook_z" if self.component == "z" else f"hook_{self.component}"
        return f"blocks.{self.layer}.{inner}"

    def __str__(self) -> str:
        return f"{self.component}.{self.layer}"

    @classmethod
    def parse(cls, text: str) -> Site:
        """Parse the text of a site, as ``str(site)`` writes it.

        Args:
            text: such as ``"resid_post.5"``.

        Raises:
            SiteError: when the text is not ``component.layer``.
        """
        match = re.fullmatch(r"([a-z_]+)\.([0-9]{1,9})", text)
        if match is None:
            raise SiteError(f"{text!r} is not a site; write component.layer, such as resid_post.5")
        return cls(match[1], int(match[2]))

    def check(self, n_layers: int) -> Site:
        """Return this site when a model of ``n_layers`` has it.

        Raises:
            SiteError: when the layer is out of range, naming the valid range.
        """
        if self.layer >= n_layers:
            raise SiteError(
                f"{self} is out of range: the model has {n_layers} layers; "
                f"use a layer from 0 to {n_layers - 1}"
            )
        return self

    def shape(self, n_heads: int, d_head: int, d_model: int) -> tuple[int, ...]:
        """Return the shape of an activation at this site, after the batch and position axes.

        Returns:
            ``(n_heads, d_head)`` for ``z``, ``(d_model,)`` for every other component.
        """
        return (n_heads, d_head) if self.component == "z" else (d_model,)
