"""Cosines against the definition, written out."""

from __future__ import annotations

import polars as pl
import pytest
import torch

import interp_steer as ist
from interp_steer.errors import InterpSteerError, VectorError
from interp_steer.geometry import cosines
from interp_steer.geometry.cosines import cosine_map, cosine_of_pairs, cosine_to_others


def pairs(text: str = "No capitals.") -> ist.ContrastSet:
    queries = [f"Name {n} trees." for n in ("one", "two", "six")]
    return ist.contrast.build(text, queries, [text], fit=3, select=0, test=0)


def test_cosines_are_the_definition_written_out():
    torch.manual_seed(0)
    rows, others = torch.randn(7, 12), torch.randn(7, 12)

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(a @ b / (a.norm() * b.norm()))

    for i, value in enumerate(cosine_to_others(rows)):
        mean = sum(cosine(rows[i], rows[j]) for j in range(7) if j != i) / 6
        assert float(value) == pytest.approx(mean, abs=1e-6)
    for i, value in enumerate(cosine_of_pairs(rows, others)):
        assert float(value) == pytest.approx(cosine(rows[i], others[i]), abs=1e-6)


def test_one_row_has_no_others():
    with pytest.raises(VectorError, match="two or more"):
        cosine_to_others(torch.ones(1, 4))


def test_map_is_symmetric_with_ones_and_agrees_with_the_vectors(tiny):
    model = tiny("llama3")
    vectors = [ist.fit(model, pairs(text)) for text in ("No capitals.", "Be brief.", "Use a list.")]
    matrix = cosine_map(vectors, layer=2)
    torch.testing.assert_close(matrix, matrix.T)
    torch.testing.assert_close(matrix.diagonal(), torch.ones_like(matrix.diagonal()))
    assert float(matrix[0, 1]) == pytest.approx(float(vectors[0].cosine(vectors[1])[2]))
    with pytest.raises(InterpSteerError, match="layer"):
        cosine_map(vectors, layer=9)
    with pytest.raises(VectorError, match="at least one"):
        cosine_map([], layer=0)


def test_the_vocabulary_is_the_unembedding_times_the_direction(tiny):
    model = tiny("llama3")
    vector = ist.fit(model, pairs())
    found = cosines.vocabulary(model, vector, top=4)
    head = model.plain.get_output_embeddings().weight.detach()
    for layer in vector.layers:
        logits = head @ vector.at(layer).unit
        scores = (logits - logits.mean()) / logits.std()
        rows = found.filter((pl.col("layer") == layer) & (pl.col("side") == "raised")).sort("rank")
        assert rows["score"].to_list() == pytest.approx(scores.topk(4).values.tolist(), abs=1e-4)
        tokens = [model.tokenizer.decode([token]) for token in scores.topk(4).indices]
        assert rows["token"].to_list() == tokens


def test_heads_have_no_vocabulary_of_their_own(tiny):
    model = tiny("llama3")
    with pytest.raises(VectorError, match="resid_post, attn_out or mlp_out"):
        cosines.vocabulary(model, ist.fit(model, pairs(), component="z"))
