"""Compute cosines between activations and between directions, and read directions as tokens."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from interp_steer.errors import VectorError
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.vectors.steering_vector import SteeringVector


def cosine_to_others(rows: Float[Tensor, "row d_model"]) -> Float[Tensor, " row"]:
    """Compute the mean cosine similarity of each row to all other rows.

    Args:
        rows: one activation per prompt, at least two.

    Returns:
        One number in [-1, 1] per row; their mean is the mean over all pairs of different rows.

    Raises:
        VectorError: for fewer than two rows.
    """
    if len(rows) < 2:
        raise VectorError(f"{len(rows)} row cannot be compared with others; capture two or more")
    unit = normalize(rows.double(), dim=-1)
    cosines = einsum(unit, unit, "a d_model, b d_model -> a b")
    return (cosines.sum(dim=1) - cosines.diagonal()) / (len(rows) - 1)


def cosine_of_pairs(
    a: Float[Tensor, "row d_model"], b: Float[Tensor, "row d_model"]
) -> Float[Tensor, " row"]:
    """Compute the cosine similarity of each row of ``a`` to the same row of ``b``."""
    return torch.cosine_similarity(a.double(), b.double(), dim=-1)


def cosine_map(vectors: Sequence[SteeringVector], layer: int) -> Float[Tensor, "vector vector"]:
    """Compute the cosine similarities between steering vectors at one layer.

    Args:
        vectors: vectors of one model.
        layer: the layer at which they are compared.

    Returns:
        A symmetric matrix with ones on its diagonal.

    Raises:
        VectorError: for an empty list, vectors of different models, or a vector without the layer.
    """
    if not vectors:
        raise VectorError("the list of vectors to compare is empty; give at least one")
    index = vectors[0].layers.index(vectors[0].at(layer).source.layer)
    rows = [torch.stack([one.cosine(other)[index] for other in vectors]) for one in vectors]
    return torch.stack(rows)


def vocabulary(model: HookedLM, vector: SteeringVector, top: int = 10) -> pl.DataFrame:
    """Return the tokens that a vector raises and lowers most, read by the head (the logit lens).

    ``u_l @ W_U`` for each layer, with ``u_l`` the unit direction (paper A, vocabulary projection).
    The final norm is left out: except for its gains, it scales all logits of a residual stream
    alike.

    Args:
        model: the model that the vector was fitted on.
        vector: a vector at a component of the residual stream's width.
        top: the number of tokens on either side.

    Returns:
        Columns ``layer``, ``side`` (``raised`` or ``lowered``), ``rank`` from 1, ``token`` and
        ``score``, in standard deviations over the vocabulary.

    Raises:
        VectorError: for a vector of another model, or a vector at ``z``.
    """
    vector.check(model)
    if vector.card.component == "z":
        raise VectorError(
            f"{vector} is in the space of the heads, which write through the output projection; "
            "fit one at resid_post, attn_out or mlp_out"
        )
    head = model.bridge.W_U.detach().float().cpu()
    logits = einsum(vector.unit.float(), head, "layer d_model, d_model token -> layer token")
    scores = (logits - logits.mean(-1, keepdim=True)) / logits.std(-1, keepdim=True)
    rows = []
    for layer, of_layer in zip(vector.layers, scores, strict=True):
        for side, sign in (("raised", 1), ("lowered", -1)):
            best = (sign * of_layer).topk(min(top, len(of_layer)))
            for rank, (score, token) in enumerate(zip(*map(Tensor.tolist, best), strict=True), 1):
                text = model.tokenizer.decode([token])
                rows.append((layer, side, rank, text, sign * score))
    return pl.DataFrame(rows, schema=["layer", "side", "rank", "token", "score"], orient="row")
