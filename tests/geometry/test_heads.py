"""Heads against definitions written out, and shares that must sum to one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import interp_steer as ist
from interp_steer.capture.activations import capture_moments
from interp_steer.errors import CaptureError, VectorError
from interp_steer.geometry.heads import head_projections, head_rows, share_sites, write_shares
from interp_steer.statistics.separation import measure_separation
from tests.support.sizes import SMALL


def pairs(n: int = 6) -> ist.ContrastSet:
    words = ("one", "two", "six", "nine", "ten", "four", "five", "ninety")[:n]
    queries = [f"Name {word} trees and tell me about the sea." for word in words]
    return ist.contrast.build("brief", queries, ["Be brief."], fit=n, select=0, test=0).fit


def sides(model: ist.HookedLM, sites=None) -> list[ist.Moments]:
    chosen = share_sites(model) if sites is None else sites
    return [
        capture_moments(model, side, chosen, keep_rows=True)
        for side in (pairs().present, pairs().absent)
    ]


# ------------------------------------------------------------------ shares
@pytest.mark.parametrize("architecture", ["llama3", "gpt2", "mistral", "phi3", "gemma2"])
def test_shares_sum_to_one_at_every_layer(tiny, architecture):
    model = tiny(architecture)
    shares = write_shares(model, *sides(model), draws=20)
    # Gemma-2's first window is shorter than what follows the words that differ.
    assert shares.layers == tuple(range(int(architecture == "gemma2"), model.n_layers))
    whole = torch.ones(len(shares.layers), dtype=torch.float64)
    torch.testing.assert_close(shares.values.sum(dim=1), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(shares.draws.sum(dim=2), whole.expand(20, -1), atol=1e-5, rtol=0)
    assert shares.error < 1e-5
    heads = [writer for writer in shares.writers if writer.kind == "head"]
    if architecture == "gemma2":
        assert not heads and "normalises the sum of its heads" in shares.note
    else:
        assert len(heads) == model.n_layers * model.n_heads and not shares.note


def test_a_share_is_the_definition_written_out(tiny):
    model = tiny("llama3")
    present, absent = sides(model)
    shares = write_shares(model, present, absent, draws=5)

    def difference(site: ist.Site) -> torch.Tensor:
        return (present.mean[site] - absent.mean[site])[0]

    layer = 3
    v = difference(ist.Site("resid_post", layer))
    u = v / v.norm()
    for column, writer in enumerate(shares.writers):
        if writer.layer is None:
            w = difference(ist.Site("resid_pre", 0))
        elif writer.head is not None:
            z = difference(ist.Site("z", writer.layer))[writer.head]
            projection = model.plain.model.layers[writer.layer].self_attn.o_proj.weight.detach()
            d = model.d_head
            w = projection[:, writer.head * d : (writer.head + 1) * d].double() @ z
        else:
            w = difference(ist.Site("mlp_out", writer.layer))
        expected = float(w @ u / v.norm())
        assert float(shares.values[layer, column]) == pytest.approx(expected, abs=1e-6)


def test_what_writes_after_a_layer_has_no_share_of_it(tiny):
    model = tiny("llama3")
    shares = write_shares(model, *sides(model), draws=5)
    for column, writer in enumerate(shares.writers):
        for layer in shares.layers:  # which are all layers here
            if writer.layer is not None and writer.layer > layer:
                assert not shares.values[layer, column] and not shares.draws[:, layer, column].any()
    blocks = shares.sum_by(lambda writer: writer.layer)
    assert (1, 2) not in blocks and (2, 1) in blocks and (0, None) in blocks


def test_groups_add_up_and_hold_their_estimate(tiny):
    model = tiny("llama3")
    shares = write_shares(model, *sides(model), draws=30)
    parts = shares.sum_by(lambda writer: writer.part)
    for layer in shares.layers:
        of = {part: each for (at, part), each in parts.items() if at == layer}
        assert set(of) == {"embedding", "attention", "mlp"}
        assert sum(each.value for each in of.values()) == pytest.approx(1, abs=1e-5)
        assert all(each.low <= each.value <= each.high for each in of.values())


def test_a_residual_stream_that_is_no_sum_is_refused(tiny):
    """The run-time check: activations of an attention that something else scaled."""
    model = tiny("llama3")
    present, absent = sides(model)
    assert present.rows is not None
    site = ist.Site("mlp_out", 1)
    present.rows.values[site].mul_(3.0)  # type: ignore[union-attr]
    with pytest.raises(VectorError, match="sum to 1 but for"):
        write_shares(model, present, absent, draws=5)


def test_sides_that_do_not_differ_have_no_direction(tiny):
    model = tiny("llama3")
    present, _ = sides(model)
    with pytest.raises(VectorError, match="do not differ"):
        write_shares(model, present, present, draws=5)


def test_moments_without_rows_or_sites_are_refused(tiny):
    model = tiny("llama3")
    present, absent = (
        capture_moments(model, side, keep_rows=True) for side in (pairs().present, pairs().absent)
    )
    with pytest.raises(VectorError, match=r"resid_pre\.0 were not kept"):
        write_shares(model, present, absent)
    with pytest.raises(CaptureError, match=r"no rows at z\.0"):
        head_rows(capture_moments(model, pairs().present))
    every = capture_moments(model, pairs().present, model.sites("z"), "all", keep_rows=True)
    with pytest.raises(CaptureError, match="capture one position"):
        head_rows(every)


# ------------------------------------------------------------------ one head alone
def test_rows_of_heads_give_the_vector_that_is_fitted(tiny):
    model = tiny("llama3")
    present, absent = (head_rows(side) for side in sides(model, model.sites("z")))
    vector = ist.fit_steps(model, pairs(), n_steps=1)
    mean = (present - absent).mean(dim=0).float()
    torch.testing.assert_close(mean, vector.directions[0], atol=1e-5, rtol=1e-4)
    apart = head_projections(present, mean) - head_projections(absent, mean)
    torch.testing.assert_close(
        apart.mean(dim=0).float(), vector.head_norms[0], atol=1e-5, rtol=1e-4
    )


def test_auroc_is_what_scikit_learn_finds_ties_and_all():
    rng = np.random.default_rng(0)
    present, absent = rng.normal(0.7, 1, (30, 2, 3)), rng.normal(0, 1, (20, 2, 3))
    present[:, 1], absent[:, 1] = present[:, 1].round(), absent[:, 1].round()
    found = measure_separation(torch.from_numpy(present), torch.from_numpy(absent))
    labels = [1] * 30 + [0] * 20
    for layer, head in np.ndindex(2, 3):
        scores = np.concatenate([present[:, layer, head], absent[:, layer, head]])
        expected = roc_auc_score(labels, scores)
        assert float(found.auroc[layer, head]) == pytest.approx(expected, abs=1e-12)
        assert found.low[layer, head] < expected < found.high[layer, head]


def test_a_wanted_direction_separates_and_shuffled_labels_do_not():
    """Held out: the direction is of one half of the rows, the AUROC of the other."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(400, 2, 3, 8, generator=generator)
    property_ = torch.randn(2, 3, 8, generator=generator)
    labels = torch.arange(400) % 2 == 0
    rows[labels] += property_

    def held_out(labels: torch.Tensor) -> torch.Tensor:
        fit, test = slice(0, 200), slice(200, 400)
        own = rows[fit][labels[fit]].mean(dim=0) - rows[fit][~labels[fit]].mean(dim=0)
        sides = (rows[test][which] for which in (labels[test], ~labels[test]))
        return measure_separation(*(head_projections(side, own) for side in sides)).auroc

    assert float(held_out(labels).min()) > 0.8
    shuffled = torch.stack(
        [held_out(labels[torch.randperm(400, generator=generator)]) for _ in range(20)]
    )
    assert abs(float(shuffled.mean()) - 0.5) < 0.03


def test_the_interval_holds_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(1)
    shift = 1.8  # the chance that N(1.8, 1) exceeds N(0, 1) is Phi(1.8 / sqrt 2)
    truth = 0.8985
    present, absent = rng.normal(shift, 1, (24, 1000)), rng.normal(0, 1, (24, 1000))
    found = measure_separation(torch.from_numpy(present), torch.from_numpy(absent))
    held = (found.low <= truth) & (truth <= found.high)
    assert 0.93 <= float(held.double().mean()) <= 0.985


def test_sides_that_are_apart_altogether_are_not_certain():
    few = measure_separation(torch.arange(4.0) + 10, torch.arange(4.0))
    many = measure_separation(torch.arange(400.0) + 1000, torch.arange(400.0))
    assert float(few.auroc) == float(many.auroc) == float(few.high) == 1.0
    assert float(few.low) < 0.75 < 0.98 < float(many.low)
    turned = measure_separation(torch.arange(4.0), torch.arange(4.0) + 10)
    assert float(turned.auroc) == float(turned.low) == 0.0
    assert float(turned.high) == pytest.approx(1 - float(few.low))


def test_numbers_that_are_no_sides_are_refused():
    with pytest.raises(CaptureError, match="do not go together"):
        measure_separation(torch.ones(3, 2), torch.ones(3, 4))
    with pytest.raises(CaptureError, match="nan or inf"):
        measure_separation(torch.tensor([float("nan")]), torch.ones(1))


SMALL += ["--draws", "12", "--max-new-tokens", "12"]
