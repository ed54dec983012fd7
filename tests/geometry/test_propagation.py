"""What follows an addition: nothing before it, itself where it is made, and in proportion after."""

from __future__ import annotations

import polars as pl
import pytest
import torch

import interp_steer as ist
from interp_steer.errors import GenerationError, InterventionError, SiteError
from interp_steer.geometry.propagation import QUANTITIES, PropagationOptions, propagate
from interp_steer.models.sites import Site

QUERIES = ["Name a tree.", "Tell me about the sea and the castle.", "What is a whale?"]
LAYER = 1


@pytest.fixture(scope="module")
def vector(tiny):
    pairs = ist.contrast.build("case", QUERIES, ["No capitals."], fit=3, select=0, test=0)
    return ist.fit(tiny("llama3"), pairs)


def test_no_strength_changes_nothing(tiny, vector):
    found = propagate(tiny("llama3"), QUERIES, vector.at(LAYER), [0.0], fitted=vector)
    assert (found.inflation == 1).all() and (found.kl == 0).all() and (found.lens == 0).all()
    assert found.survival.isnan().all() and found.to_added.isnan().all()  # of nothing
    assert found.records()["survival"].is_null().all()


@pytest.mark.parametrize("architecture", ["llama3", "gemma2", "gpt2"])
@pytest.mark.parametrize("answers", [None, ["a puppet ran", "bread", "he will be good"]])
def test_it_is_nothing_before_itself_there_and_something_else_after(tiny, architecture, answers):
    model = tiny(architecture)
    pairs = ist.contrast.build("case", QUERIES, ["No capitals."], fit=3, select=0, test=0)
    own = ist.fit(model, pairs)
    found = propagate(
        model,
        QUERIES,
        own.at(LAYER),
        [0.5, -2.0],
        answers=answers,
        fitted=own,
        options=PropagationOptions(layers=range(model.n_layers)),
    )
    assert (found.growth[..., :LAYER] == 0).all() and (found.survival[..., :LAYER] == 0).all()
    assert (found.kl[..., :LAYER] == 0).all() and (found.inflation[..., :LAYER] == 1).all()
    one = torch.ones(2, len(QUERIES), dtype=torch.float64)
    for name in ("growth", "survival", "to_added", "to_fitted"):
        torch.testing.assert_close(getattr(found, name)[..., LAYER], one, atol=1e-5, rtol=0)
    assert (found.to_added[..., LAYER + 1 :] < 1 - 1e-6).all()
    assert (found.kl[..., LAYER:] > 0).all()


@pytest.mark.parametrize("through", ["plain", "hook_points"])
def test_the_numbers_are_those_of_two_captures_by_hand(tiny, vector, through):
    model, c = tiny("llama3"), 1.5
    direction = vector.at(LAYER)
    found = propagate(
        model,
        QUERIES,
        direction,
        [c],
        fitted=vector,
        options=PropagationOptions(batch_size=2, through=through),
    )
    plain = ist.capture.capture_moments(model, QUERIES, keep_rows=True).rows
    with model.steered(direction.add(c)):
        steered = ist.capture.capture_moments(model, QUERIES, keep_rows=True).rows
    assert plain is not None and steered is not None
    for index, layer in enumerate(found.layers):
        h, moved = (side.values[Site("resid_post", layer)].double() for side in (plain, steered))
        change = moved - h
        u, v = direction.unit.double(), vector.at(layer).unit.double()
        length = change.norm(dim=1)
        expected = {
            "survival": change @ u / c,
            "growth": length / c,
            "to_added": change @ u / length,
            "to_fitted": change @ v / length,
            "inflation": moved.norm(dim=1) / h.norm(dim=1),
        }
        for name, values in expected.items():
            mine = getattr(found, name)[0, :, index]
            torch.testing.assert_close(mine, values, atol=1e-4, rtol=1e-3)


def test_the_lens_at_the_last_layer_is_the_models_own_prediction(tiny, vector):
    model = tiny("llama3")
    answers = [[10, 11, 12], [13], [14, 15]]
    steer = vector.at(LAYER).add(3.0)
    found = propagate(model, QUERIES, vector.at(LAYER), [3.0], answers=answers)
    expected = [one.kl for one in ist.divergence(model, QUERIES, answers, steer)]
    assert found.kl[0, :, -1].tolist() == pytest.approx(expected, rel=1e-3)
    assert float(found.lens[0, -1].abs().max()) > 0
    tokens = found.tokens(model, top=3)
    best = tokens.filter((pl.col("layer") == 3) & (pl.col("side") == "raised")).sort("rank")
    top = found.lens[0, -1].topk(3).indices
    assert best["token"].to_list() == [model.tokenizer.decode([int(t)]) for t in top]


def test_small_changes_are_in_proportion_to_the_strength(tiny, vector):
    found = propagate(tiny("llama3"), QUERIES, vector.at(LAYER), [0.01, 0.02, -0.01])
    lengths = found.growth * torch.tensor([0.01, 0.02, 0.01])[:, None, None]
    ratio = lengths[1] / lengths[0]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 2.0), atol=0.03, rtol=0)
    for other in (1, 2):
        torch.testing.assert_close(found.survival[other], found.survival[0], atol=0.02, rtol=0)
    quadratic = found.kl[1] / found.kl[0]
    torch.testing.assert_close(quadratic, torch.full_like(quadratic, 4.0), atol=1.0, rtol=0)


def test_batches_and_neighbours_change_nothing(tiny, vector):
    model, direction = tiny("llama3"), vector.at(LAYER)
    together = propagate(model, QUERIES, direction, [1.0], fitted=vector)
    apart = propagate(
        model, QUERIES, direction, [1.0], fitted=vector, options=PropagationOptions(batch_size=1)
    )
    alone = propagate(model, QUERIES[1:2], direction, [1.0], fitted=vector)
    for name in QUANTITIES:
        mine = getattr(together, name)
        torch.testing.assert_close(mine, getattr(apart, name), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(mine[:, 1:2], getattr(alone, name), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(together.lens, apart.lens, atol=1e-4, rtol=1e-3)


def test_the_first_layer_below_a_share_is_where_it_is_erased(tiny, vector):
    found = propagate(tiny("llama3"), QUERIES, vector.at(LAYER), [1.0])
    assert (found.erased(1e9) == LAYER).all()
    assert (found.erased(-1e9) == -1).all()
    middle = float(found.survival[0, 0, 1:].min()) + 1e-9
    first = int(found.erased(middle)[0, 0])
    values = dict(zip(found.layers, found.survival[0, 0].tolist(), strict=True))
    assert values[first] < middle
    assert all(values[layer] >= middle for layer in found.layers if layer < first)


def test_what_cannot_be_followed_is_refused(tiny, vector):
    model = tiny("llama3")
    at_heads = ist.fit(
        model,
        ist.contrast.build("case", QUERIES, ["No capitals."], fit=3, select=0, test=0),
        component="z",
    )
    with pytest.raises(InterventionError, match="residual stream's width"):
        propagate(model, QUERIES, at_heads.at(1), [1.0])
    with pytest.raises(InterventionError, match="of the residual stream"):
        propagate(model, QUERIES, vector.at(1), [1.0], fitted=at_heads)
    with pytest.raises(InterventionError, match="at least one"):
        propagate(model, QUERIES, vector.at(1), [])
    with pytest.raises(SiteError, match="out of range"):
        propagate(model, QUERIES, vector.at(1), [1.0], options=PropagationOptions(layers=[9]))
    with pytest.raises(GenerationError, match="prompts is empty"):
        propagate(model, [], vector.at(1), [1.0])
