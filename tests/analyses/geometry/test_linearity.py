"""Is a property linear: probes on shapes that are known, gains with their intervals, equal cost."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from torch import Tensor

import interp_steer as ist
from analyses.geometry.linearity_equal_damage import NEAR, match_cost, summarise_outcomes
from analyses.geometry.linearity_readouts import LINEAR, MOVES, LayerReadouts, PropertyReadouts
from figures.geometry.pair_shifts import pair_shifts
from interp_steer.errors import CaptureError, FigureError, VectorError
from interp_steer.geometry import probes
from interp_steer.geometry.probes import (
    Both,
    density_ratio,
    log_loss,
    train_probe,
    train_with_penalty,
)
from interp_steer.statistics.separation import auroc_gain, measure_separation
from tests.support.moments_of_sides import SITE, cosine, gaussian, sides


def apart(reading, rows: Both) -> float:
    return float(measure_separation(*(reading(side) for side in rows)).auroc)


def shifted(n: int, d: int, seed: int, by: float = 2.0) -> Both:
    """Two Gaussian clouds, one of them moved along the first axis."""
    shift = torch.zeros(d).double()
    shift[0] = by
    return gaussian(n, d, seed) + shift, gaussian(n, d, seed + 1)


def parity(n: int, d: int, seed: int) -> Both:
    """Signs of the first two axes that agree, and that do not: no line tells them apart."""
    rows = gaussian(4 * n, d, seed)
    rows[:, :2] += 1.5 * rows[:, :2].sign()
    alike = rows[:, 0] * rows[:, 1] > 0
    return rows[alike][:n], rows[~alike][:n]


# ------------------------------------------------------------------ probes
@pytest.mark.parametrize("kind", list(probes.PENALTIES))
def test_a_shift_is_read_by_every_probe_along_its_axis(kind):
    fit, select, test = (shifted(150, 6, seed) for seed in (0, 10, 20))
    probe = train_probe(kind, fit, select)
    assert probe.kind == kind and probe.penalty in probes.PENALTIES[kind]
    best = 0.5 * (1 + math.erf(2.0 / 2))  # Phi(2 / sqrt 2): no reading of these does better
    assert best - 0.06 < apart(probe, test) < best + 0.05
    assert cosine(probe.direction(torch.cat(fit)), torch.eye(6)[0]) > 0.95


def test_what_no_line_tells_apart_an_mlp_does_and_linear_probes_do_not():
    fit, select, test = (parity(150, 4, seed) for seed in (0, 10, 20))
    found = {kind: apart(train_probe(kind, fit, select), test) for kind in probes.PENALTIES}
    assert found["mlp"] > 0.95 and abs(found["logistic"] - 0.5) < 0.1
    scored = {
        kind: (probe(test[0]), probe(test[1]))
        for kind in ("logistic", "mlp")
        for probe in [train_probe(kind, fit, select)]
    }
    gain = auroc_gain(scored["logistic"], scored["mlp"])
    assert gain.low > 0.3


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("kind", list(probes.PENALTIES))
def test_log_odds_are_those_of_the_library(kind):
    fit, rows = shifted(40, 5, 0), gaussian(7, 5, 3)
    probe = train_with_penalty(kind, fit, 3.0)
    scaled, asked = (((each - probe.mean) / probe.scale).numpy() for each in (torch.cat(fit), rows))
    known = probes._make_classifier(kind, 3.0, 0).fit(scaled, [1] * 40 + [0] * 40)
    expected = known.predict_proba(asked)[:, 1]
    np.testing.assert_allclose(torch.sigmoid(probe(rows)).numpy(), expected, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100), st.floats(0.01, 100))
def test_probes_do_not_depend_on_the_units_of_a_coordinate(seed, factor):
    fit, test = shifted(30, 4, seed), shifted(10, 4, seed + 2)
    units = torch.tensor([1.0, factor, 1.0, 1 / factor]).double()
    for kind in ("logistic", "mlp"):
        one = train_with_penalty(kind, fit, 10.0)
        other = train_with_penalty(kind, (fit[0] * units, fit[1] * units), 10.0)
        torch.testing.assert_close(one(test[0]), other(test[0] * units), atol=1e-3, rtol=1e-3)


def test_a_sparse_probe_reads_few_coordinates():
    fit, select = shifted(60, 40, 0, by=4.0), shifted(60, 40, 10, by=4.0)
    sparse, dense = (train_probe(kind, fit, select) for kind in ("sparse", "logistic"))
    assert 1 <= sparse.coordinates < 15 and dense.coordinates == 40


def test_the_penalty_is_the_one_that_the_select_split_likes_best():
    fit, select = shifted(20, 30, 0), shifted(100, 30, 10)
    losses = {
        penalty: log_loss(train_with_penalty("logistic", fit, penalty), select)
        for penalty in probes.PENALTIES["logistic"]
    }
    assert train_probe("logistic", fit, select).penalty == min(losses, key=lambda one: losses[one])
    present, absent = select
    probe = train_with_penalty("logistic", fit, 10.0)
    by_hand = -torch.cat([probe(present).sigmoid(), 1 - probe(absent).sigmoid()]).log().mean()
    assert log_loss(probe, select) == pytest.approx(float(by_hand))


def test_an_mlp_s_direction_is_its_gradient():
    fit = parity(60, 3, 0)
    probe = train_with_penalty("mlp", fit, 1.0)
    rows = gaussian(50, 3, 5)
    step = 1e-5
    slopes = [
        float((probe(rows + step * axis) - probe(rows - step * axis)).mean()) / (2 * step)
        for axis in torch.eye(3).double()
    ]
    torch.testing.assert_close(
        probe.direction(rows), torch.tensor(slopes).double(), atol=1e-3, rtol=1e-3
    )
    with torch.inference_mode():
        assert probe.direction(rows).shape == (3,)


def test_equal_means_leave_nothing_to_a_linear_probe():
    """As of prompts that were moved by the mean shift: the control of the analysis."""
    present, absent = gaussian(80, 6, 0, torch.arange(1, 7).double()), gaussian(80, 6, 1)
    moved = absent + present.mean(0) - absent.mean(0)
    for penalty in probes.PENALTIES["logistic"]:
        probe = train_with_penalty("logistic", (present, moved), penalty)
        assert float(probe.weights[0].abs().max()) < 1e-4
    assert apart(train_with_penalty("mlp", (present, moved), 1.0), (present, moved)) > 0.8


def test_what_cannot_be_trained_is_refused():
    fit = shifted(4, 3, 0)
    with pytest.raises(VectorError, match="give some of either side"):
        train_with_penalty("logistic", (fit[0], fit[1][:0]), 1.0)


# ------------------------------------------------------------------ densities
def test_the_ratio_of_densities_is_quadratic_discriminant_analysis():
    turn = gaussian(4, 4, 9)
    present, absent = gaussian(4000, 4, 0) @ turn + 0.3, gaussian(4000, 4, 1)
    known = QuadraticDiscriminantAnalysis()
    known.fit(torch.cat([present, absent]).numpy(), [1] * 4000 + [0] * 4000)
    read = density_ratio(sides(present, absent), SITE)
    rows = gaussian(50, 4, 3)
    expected = torch.from_numpy(known.decision_function(rows.numpy()))
    torch.testing.assert_close(read(rows), expected, atol=0.1, rtol=0.05)  # but for the shrinkage
    axes = density_ratio(sides(present, absent), SITE, diagonal=True)
    spread, mean = present.std(0), present.mean(0)
    by_hand = -((rows - mean) ** 2 / (2 * spread**2) + spread.log()).sum(1)
    spread, mean = absent.std(0), absent.mean(0)
    by_hand += ((rows - mean) ** 2 / (2 * spread**2) + spread.log()).sum(1)
    torch.testing.assert_close(axes(rows), by_hand, atol=0.05, rtol=0.05)


# ------------------------------------------------------------------ gains
def scores(n: int, seed: int, by: float) -> tuple[Tensor, Tensor]:
    present, absent = shifted(n, 1, seed, by)
    return present[:, 0], absent[:, 0]


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(0, 100))
def test_a_gain_is_turned_round_with_its_readings(n, seed):
    one, other = scores(n, seed, 1.0), scores(n, seed + 5, 2.0)
    gain, loss = auroc_gain(one, other), auroc_gain(other, one)
    assert gain.value == pytest.approx(-loss.value)
    assert (gain.low, gain.high) == pytest.approx((-loss.high, -loss.low))
    assert -1 <= gain.low <= gain.value <= gain.high <= 1
    same = auroc_gain(one, one)
    assert same.value == 0 and same.low <= 0 <= same.high


def test_two_readings_that_tell_all_apart_are_not_certain_to_be_alike():
    sure = torch.arange(20.0) + 100, torch.arange(20.0)
    gain = auroc_gain(sure, sure)
    assert gain.value == 0 and gain.low < -0.05 and gain.high > 0.05


def test_the_interval_of_a_gain_holds_the_truth_nineteen_times_in_twenty():
    """Two noisy looks at the same prompts, alike but for their noise."""
    held = 0
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(2, 2, 30, generator=generator, dtype=torch.float64)
        common = torch.randn(2, 30, generator=generator, dtype=torch.float64)
        sees = [(common[0] + each[0] + 1.5, common[1] + each[1]) for each in noise]
        gain = auroc_gain(*sees, draws=200)
        held += gain.low <= 0 <= gain.high
    assert held >= 90


# ------------------------------------------------------------------ equal cost
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.floats(1, 3)), min_size=1, max_size=5),
    st.floats(0.01, 10),
)
def test_all_are_brought_to_the_same_cost(costs, budget):
    def spent(amounts):
        return {n: costs[n][0] * amounts[n] ** costs[n][1] for n in amounts}

    found = match_cost(spent, dict.fromkeys(range(len(costs)), 1.0), budget)
    for cost in spent(found).values():
        assert abs(math.log(cost / budget)) <= math.log(NEAR) + 1e-9


def test_a_cost_that_jumps_is_met_as_nearly_as_was_tried():
    tried = []

    def spent(amounts):
        tried.append(amounts[0])
        return {0: 0.0 if amounts[0] < 3 else 10.0}

    found = match_cost(spent, {0: 1.0}, 1.0)
    assert found[0] in tried and found[0] >= 3 and len(tried) <= 8


def answers() -> pl.DataFrame:
    """Four prompts: nothing, the text, two contenders and two draws of a control."""
    rows = []
    for setting, matched, name, draw, strict, logprob in (
        ("none", None, None, None, False, -3.0),
        ("instruction", None, None, None, True, -1.0),
        ("steered", "norm", "difference_in_means", None, True, -2.0),
        ("steered", "norm", "lda", None, False, -2.5),
        ("random", "norm", "random", 0, False, -3.0),
        ("random", "norm", "random", 1, True, -2.0),
    ):
        rows += [
            ("p", setting, matched, name, draw, str(k), str(k), strict, logprob, 0.1, k == 0, False)
            for k in range(4)
        ]
    columns = ["property", "setting", "matched", "operation", "draw", "key", "query", "strict",
               "logprob", "kl", "degenerate", "garbled"]  # fmt: skip
    return pl.DataFrame(rows, schema=columns, orient="row", infer_schema_length=None)


def test_outcomes_are_those_of_each_contender():
    found = {
        (row["of"], row["quantity"]): row["value"]
        for row in summarise_outcomes(answers(), seed=0).iter_rows(named=True)
    }
    assert found["difference_in_means", "obeys"] == 1 and found["lda", "obeys"] == 0
    assert found["random", "obeys"] == 0.5 and found["random", "recovered"] == 0.25
    assert found["difference_in_means", "recovered"] == 0.5 and found["lda", "recovered"] == 0.25
    assert found["lda", "broken"] == 0.25 and found["lda", "kl"] == pytest.approx(0.1)
    nothing = answers().with_columns(logprob=pl.lit(None, dtype=pl.Float64))
    assert "recovered" not in summarise_outcomes(nothing, seed=0)["quantity"]


# ------------------------------------------------------------------ a layer
@pytest.fixture(scope="module")
def layer(tiny) -> LayerReadouts:
    pairs = ist.world.instruction("change_case:english_lowercase", fit=12, select=4, test=6)
    return PropertyReadouts.of(tiny("llama3"), pairs, seed=0).layers[2]


def test_vectors_of_a_property_are_its_directions(tiny):
    pairs = ist.world.instruction("detectable_format:title", fit=6, select=3, test=3)
    found = PropertyReadouts.of(tiny("gemma2"), pairs, seed=0)
    for name, vector in found.vectors.items():
        assert vector.name == f"{name}(title)" and vector.card.estimator == name
        for layer, unit in zip(found.layers, vector.unit, strict=True):
            assert cosine(unit, layer.directions[name]) > 0.9999
    means = found.vectors["difference_in_means"]
    assert bool((means.norms * 1.0001 >= found.vectors["mlp"].norms).all())


def test_readings_score_every_prompt_of_a_split(layer):
    for split, n in (("fit", 12), ("select", 4), ("test", 6)):
        found = layer.scores(split)
        assert set(LINEAR) < set(found) and all(
            len(side) == n for both in found.values() for side in both
        )
    assert layer.choose_linear() in LINEAR


def test_the_mean_shift_leaves_a_linear_probe_at_chance(layer):
    left = {(move, what): value for move, what, value in layer.measure_remaining()}
    assert {move for move, _ in left} == set(MOVES)
    assert left["mean", "left.logistic"].value == pytest.approx(0.5, abs=0.2)
    assert left["nothing", "left.logistic"].value > left["mean", "left.logistic"].value


def test_cosines_lie_in_their_intervals(layer):
    found = {of: value for of, _, value in layer.measure_cosines()}
    assert set(found) == set(layer.directions) - {"difference_in_means"}
    assert all(-1 <= one.low <= one.value <= one.high <= 1 for one in found.values())


# ------------------------------------------------------------------ figures
def test_pair_shifts_show_every_pair_and_where_they_lie():
    frame = pl.DataFrame({"panel": ["a"] * 3, "shift": [0.9, 1.0, 1.1], "spread": [1.0, 0.0, -1.0]})
    drawing = pair_shifts(frame)
    pairs, mean = drawing.figure.to_plotly_json()["data"]
    assert list(pairs["x"]) == [0.9, 1.0, 1.1] and list(mean["x"]) == pytest.approx([0, 1])
    assert "a mean of 0.00 and a deviation of 1.00 (a)" in drawing.caption
    with pytest.raises(FigureError, match="1 of them undefined"):
        pair_shifts(frame.with_columns(pl.Series("shift", [1.0, float("nan"), 1.0])))
    with pytest.raises(CaptureError):
        measure_separation(torch.zeros(0), torch.zeros(3))


# ------------------------------------------------------------------ the analysis
def test_the_analysis_leaves_what_it_says(run):
    given = ["--model", "burattino-tiny", "--instruction", "change_case:english_lowercase"]
    given += ["--n-fit", "12", "--n-select", "4", "--n-test", "6", "--n-steered", "2"]
    given += ["--n-random", "1", "--max-new-tokens", "16", "--graded-tokens", "8"]
    results = run("linearity", *given)["linearity"]
    name = "change_case:english_lowercase"
    summary = results.summary
    assert summary[f"layer.{name}"] in range(4)
    for key in (
        f"gain.{name}",
        f"gain.control.{name}",
        f"auroc.lda.{name}",
        f"cosine.pca_centred.{name}",
        f"left.mlp.gaussian.{name}",
        f"obeys.kl.whitened.{name}",
        f"kl.norm.random_map.{name}",
        f"broken.kl.sparse.{name}",
        f"recovered.norm.gaussian.{name}",
        f"beyond_means.kl.mlp.{name}",
        f"obeys.instruction.{name}",
    ):
        assert summary[f"{key}.low"] <= summary[key] <= summary[f"{key}.high"]
    answered = results.records("answers")
    # Seven directions and the mean, two maps, a random direction and a random map, twice.
    assert answered.height == 2 * (2 + 2 * (8 + 2 + 2))
    for column in ("kl", "degenerate"):
        assert answered.filter(pl.col("matched").is_not_null())[column].is_not_null().all()
    assert {"auroc", "auroc_by_layer", "gain", "cosine", "left", "shifts", "obeys", "kl"} <= set(
        results.captions
    )
