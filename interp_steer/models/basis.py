"""Determine the basis of a model's weights: the checkpoint's, or a basis made by TransformerLens.

TransformerLens can process weights so that they are easier to interpret. The predictions of the
model stay the same, but some activations change: a vector that was read in one basis points
elsewhere in another, and its shape does not show the difference. So the card of every vector
records the basis, and a vector acts in its own basis only.

==============================  ============================================================
step                            effect
==============================  ============================================================
norms folded                    the gains of the norms go into the weights that read them
writing weights centred         the residual stream loses its mean over ``d_model``
value biases folded             ``z`` loses the biases of the values, ``attn_out`` keeps them
heads rotated                   ``z`` of each head is turned (``refactor_factored_attn_matrices``)
==============================  ============================================================

Centring the unembedding shifts all logits of a position equally and changes no activation; it is
not counted as a step.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.errors import BasisError

UNPROCESSED = "unprocessed"
"""The basis of a checkpoint's own weights."""

_ROWS = 1024  # rows of the embedding that are read: in a centred embedding every row is centred
_ROUNDING = 0.05  # share of the mean of a row of independent entries; bfloat16 leaves 0.005


def basis_of(root: Any, norms_folded: bool) -> str:
    """Determine the basis of a TransformerLens model's weights from the weights themselves.

    Args:
        root: a ``TransformerBridge`` or a ``HookedTransformer``.
        norms_folded: whether the gains of its norms are folded, which the weights do not show.

    Returns:
        :data:`UNPROCESSED`, or ``"processed"`` with the steps that were taken.
    """
    attention = root.blocks[0].attn
    steps = {
        "norms folded": norms_folded,
        "writing weights centred": _is_centred(root.W_E[:_ROWS]),
        # A model without any biases has no biases to fold.
        "value biases folded": _has_bias(attention, "b_Q") and not _has_bias(attention, "b_V"),
        "heads rotated": _is_orthonormal(attention.W_O),
    }
    taken = [step for step, found in steps.items() if found]
    return f"processed ({', '.join(taken)})" if taken else UNPROCESSED


def check_basis(basis: str, whose: str, model_basis: str, model: str) -> None:
    """Check that a direction has the basis of the weights on which it acts.

    Args:
        basis: the basis in which the direction was read.
        whose: the name of the direction, for the message.
        model_basis: the basis of the model's weights.
        model: the name of the model, for the message.

    Raises:
        BasisError: when they differ, with both.
    """
    if basis != model_basis:
        raise BasisError(
            f"{whose} was read from {basis} weights and cannot act on {model}, whose weights are "
            f"{model_basis}: the same numbers mean other directions there. Fit it on this model "
            "with ist.fit(model, pairs), or wrap a model whose weights are in its basis "
            "(HookedTransformer.from_pretrained_no_processing and ist.load leave them unprocessed)"
        )


def _is_centred(rows: Float[Tensor, "row d"]) -> bool:
    rows = rows.detach().float()
    by_chance = rows.std() / rows.shape[1] ** 0.5
    return bool(rows.mean(dim=1).abs().mean() < _ROUNDING * by_chance)


def _has_bias(attention: Any, name: str) -> bool:
    biases = getattr(attention, name, None)
    return biases is not None and bool(biases.detach().any())


def _is_orthonormal(heads: Float[Tensor, "head d_head d"]) -> bool:
    heads = heads.detach().float()
    gram = heads @ heads.mT
    return bool((gram - torch.eye(gram.shape[-1], device=gram.device)).abs().max() < 0.01)
