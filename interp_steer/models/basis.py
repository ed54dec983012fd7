"""The basis of a model's weights: the checkpoint's own, or what TransformerLens made of it.

TransformerLens can process weights so that they are easier to interpret. What a model predicts
stays, and some activations change with it: a vector that was read in one basis points elsewhere in
another, and nothing in its shape would show that. So the basis is written on every vector's card,
and a vector acts in its own basis only.

==============================  ============================================================
step                            what it changes
==============================  ============================================================
norms folded                    the gains of the norms go into the weights that read them
writing weights centred         the residual stream loses its mean over ``d_model``
value biases folded             ``z`` loses the biases of the values, ``attn_out`` keeps them
heads rotated                   ``z`` of each head is turned (``refactor_factored_attn_matrices``)
==============================  ============================================================

Centring the unembedding shifts all logits of a position alike and no activation; it is no step.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp_steer.errors import BasisError

UNPROCESSED = "unprocessed"
"""The basis of a checkpoint's own weights."""

_ROWS = 1024  # of the embedding: a centred one is centred in each
_ROUNDING = 0.05  # of the means that rows of independent entries have; bfloat16 leaves 0.005


def basis_of(root: Any, norms_folded: bool) -> str:
    """The basis of a TransformerLens model's weights, found in the weights themselves.

    Args:
        root: a ``TransformerBridge`` or a ``HookedTransformer``.
        norms_folded: whether the gains of its norms are folded, which the model itself must say.

    Returns:
        :data:`UNPROCESSED`, or ``"processed"`` with the steps that were taken.
    """
    attention = root.blocks[0].attn
    steps = {
        "norms folded": norms_folded,
        "writing weights centred": _centred(root.W_E[:_ROWS]),
        # Without biases of its own a model has none to fold.
        "value biases folded": _any(attention, "b_Q") and not _any(attention, "b_V"),
        "heads rotated": _orthonormal(attention.W_O),
    }
    taken = [step for step, found in steps.items() if found]
    return f"processed ({', '.join(taken)})" if taken else UNPROCESSED


def check_basis(basis: str, whose: str, model_basis: str, model: str) -> None:
    """Refuse a direction in another basis than that of the weights it is to act on.

    Args:
        basis: that the direction was read in.
        whose: what the direction is called.
        model_basis: of the model's weights.
        model: what the model is called.

    Raises:
        BasisError: saying both, and the mend.
    """
    if basis != model_basis:
        raise BasisError(
            f"{whose} was read from {basis} weights and cannot act on {model}, whose weights are "
            f"{model_basis}: the same numbers mean other directions there. Fit it on this model "
            "with ist.fit(model, pairs), or wrap a model whose weights are in its basis "
            "(HookedTransformer.from_pretrained_no_processing and ist.load leave them unprocessed)"
        )


def _centred(rows: Float[Tensor, "row d"]) -> bool:
    rows = rows.detach().float()
    by_chance = rows.std() / rows.shape[1] ** 0.5
    return bool(rows.mean(dim=1).abs().mean() < _ROUNDING * by_chance)


def _any(attention: Any, name: str) -> bool:
    biases = getattr(attention, name, None)
    return biases is not None and bool(biases.detach().any())


def _orthonormal(heads: Float[Tensor, "head d_head d"]) -> bool:
    heads = heads.detach().float()
    gram = heads @ heads.mT
    return bool((gram - torch.eye(gram.shape[-1], device=gram.device)).abs().max() < 0.01)
