"""Estimators against closed forms on Gaussians that are known, and against other libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import oas as reference_oas
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import interp_steer as ist
from interp_steer.capture.contrast_moments import ContrastMoments, capture_contrast
from interp_steer.errors import CaptureError, VectorError
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from interp_steer.vectors import estimators, fitting
from interp_steer.vectors.orthogonal import orthogonalise
from tests.support.moments_of_sides import SITE, cosine, gaussian, sides


def pairs(n: int = 6) -> ist.ContrastSet:
    return ist.world.instruction("change_case:english_lowercase", fit=n, select=2, test=2)


# ------------------------------------------------------------------ closed forms


def test_lda_is_the_inverse_covariance_times_the_shift():
    spread = torch.linspace(0.3, 3, 8, dtype=torch.float64)
    turn, _ = torch.linalg.qr(gaussian(8, 8, 9))
    shift = gaussian(1, 8, 3)[0]
    absent = gaussian(200_000, 8, 0, spread) @ turn.T
    present = gaussian(200_000, 8, 1, spread) @ turn.T + shift
    both = sides(present, absent)
    covariance = turn @ torch.diag(spread**2) @ turn.T
    inverse = torch.linalg.inv(covariance)
    assert cosine(estimators.lda(both, SITE), inverse @ shift) > 0.999
    root = turn @ torch.diag(1 / spread) @ turn.T
    assert cosine(estimators.whitened(both, SITE), root @ shift) > 0.999
    assert cosine(estimators.lda(both, SITE), shift) < 0.8  # the three are not the same
    assert cosine(estimators.difference_in_means(both, SITE), shift) > 0.999


def test_lda_is_that_of_scikit_learn_under_the_same_covariance():
    absent, present = gaussian(30, 5, 0), gaussian(30, 5, 1) * 2 + 0.7
    both = sides(present, absent)
    shrunk = estimators.oas(both.within(SITE), both.degrees).numpy()

    class Given:
        """A covariance estimator that has made up its mind."""

        def fit(self, _: object) -> None:
            self.covariance_ = shrunk

    known = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Given())
    known.fit(torch.cat([present, absent]).numpy(), [1] * 30 + [0] * 30)
    assert cosine(estimators.lda(both, SITE), torch.from_numpy(known.coef_[0])) == pytest.approx(1)


@pytest.mark.parametrize("n", [4, 40, 400])
def test_shrinkage_is_that_of_scikit_learn(n):
    rows = gaussian(n, 12, n, torch.linspace(0.1, 4, 12, dtype=torch.float64)).numpy()
    expected, share = reference_oas(rows)
    covariance = torch.from_numpy(np.cov(rows.T, bias=True))
    found = estimators.oas(covariance, n)
    torch.testing.assert_close(found, torch.from_numpy(expected))
    assert 0 < share <= 1 and float(torch.linalg.eigvalsh(found).min()) > 0
    several = estimators.oas(torch.stack([covariance, 9 * covariance]), n)  # as at z
    torch.testing.assert_close(several, torch.stack([found, 9 * found]))


def test_what_does_not_vary_is_no_reason_for_nan():
    assert torch.equal(estimators.oas(torch.zeros(2, 3, 3).double(), 5)[1], torch.eye(3).double())
    flat = sides(torch.ones(4, 3), torch.zeros(4, 3))
    for name, found in estimators.ESTIMATORS.items():
        if name != "pca_centred":  # of which nothing is left
            torch.testing.assert_close(found(flat, SITE), torch.ones(3).double())


def test_centring_takes_away_the_shift_that_pca_is_to_find():
    """All pairs share a shift of 5; what they do not share is longer than that along another axis.

    The second moment still has the shift first, being 25 along it and 9 along the other; the
    covariance has the other alone.
    """
    spread = torch.tensor([0.05, 3.0] + [0.1] * 18).double()
    absent = gaussian(400, 20, 0)
    shift = torch.zeros(20).double()
    shift[0] = 5.0
    present = absent + shift + gaussian(400, 20, 1, spread)
    both = sides(present, absent)
    assert cosine(estimators.pca(both, SITE), shift) > 0.99
    trap = estimators.pca_centred(both, SITE)
    assert abs(cosine(trap, shift)) < 0.05
    assert float(trap.norm()) < 0.05 * float(both.shift(SITE).norm())


def test_pca_is_the_first_axis_of_known_libraries():
    absent, changed = gaussian(50, 9, 0), gaussian(50, 9, 1) + 0.5
    both = sides(absent + changed, absent)
    axis = np.linalg.svd(changed.numpy(), full_matrices=False)[2][0]
    assert abs(cosine(estimators.pca(both, SITE), torch.from_numpy(axis))) == pytest.approx(1)
    centred = PCA(1, svd_solver="full").fit(changed.numpy()).components_[0]
    found = estimators.pca_centred(both, SITE)
    assert abs(cosine(found, torch.from_numpy(centred))) == pytest.approx(1)
    # Rows of half a difference on either side have no mean left to take away.
    halves = torch.cat([changed, -changed]).numpy() / 2
    uncentred = PCA(1, svd_solver="full").fit(halves).components_[0]
    assert abs(cosine(estimators.pca(both, SITE), torch.from_numpy(uncentred))) == pytest.approx(1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(-5, 5).filter(lambda x: abs(x) > 1e-2))
def test_a_direction_is_the_part_of_the_shift_along_it(seed, factor):
    shift, raw = gaussian(1, 6, seed)[0], gaussian(1, 6, seed + 1)[0]
    part = estimators.shift_along(shift, raw)
    torch.testing.assert_close(estimators.shift_along(shift, factor * raw), part)
    unit = raw / raw.norm()
    assert float(part.norm()) == pytest.approx(abs(float(shift @ unit)))
    assert float(part @ shift) >= 0  # towards the property
    torch.testing.assert_close(estimators.shift_along(shift, shift), shift)


# ------------------------------------------------------------------ fitting


@pytest.mark.parametrize("name", list(estimators.ESTIMATORS))
@pytest.mark.parametrize("component", ["resid_post", "z"])
def test_every_estimator_makes_a_vector_that_steers(model: HookedLM, name: str, component: str):
    vector = ist.fit(model, pairs(), component=component, estimator=name, layers=[1, 3])
    means = ist.fit(model, pairs(), component=component, layers=[1, 3])
    assert vector.card.estimator == name and vector.card.n == 6 and vector.layers == (1, 3)
    assert vector.baseline is not None and vector.targets is not None
    torch.testing.assert_close(vector.baseline, means.baseline, atol=1e-4, rtol=1e-4)
    assert bool((vector.cosine(means) > 0).all())
    assert bool((vector.norms <= means.norms * (1 + 1e-4)).all())
    unit, baseline = vector.unit.double(), vector.baseline.double()
    moved = vector.targets.double() - (unit * baseline).flatten(1).sum(1)
    # A step of it and a projection to its target go equally far: the mean shift along it.
    torch.testing.assert_close(moved, vector.norms.double(), atol=1e-4, rtol=1e-3)
    shift = (means.directions.double() * unit).flatten(1).sum(1)
    torch.testing.assert_close(moved, shift, atol=1e-4, rtol=1e-3)

    gauge = ist.StrengthCalibrator(model, vector, pairs().select.absent)
    coefficient = gauge.coefficient(3, ist.Strength(2.0))
    assert coefficient == pytest.approx(2 * float(vector.norms[1]))
    control = means.matched(vector)
    torch.testing.assert_close(control.norms, means.norms)
    torch.testing.assert_close(control.unit, vector.unit, atol=1e-5, rtol=1e-4)
    said = ist.generate(model, ["Name a tree."], vector.at(3).project(), max_new_tokens=2)
    assert said[0].applied == f"project(english_lowercase@{component}.3)"


def test_one_capture_serves_every_estimator(model: HookedLM):
    several = pairs().fit
    both = capture_contrast(model, several, second_moments=True, paired=True)
    for name in estimators.ESTIMATORS:
        given = {"name": several.name, "data_hash": several.hash, "model": model}
        found = fitting.estimate(both, name, **given, split="fit")
        alone = ist.fit(model, several, estimator=name)
        assert found.card == alone.card
        torch.testing.assert_close(found.directions, alone.directions, atol=2e-4, rtol=2e-3)


def test_differences_do_not_depend_on_how_many_pairs_are_held(model: HookedLM, tmp_path):
    several = pairs(7).fit
    whole = capture_contrast(model, several, second_moments=True, paired=True)
    parts = capture_contrast(
        model,
        several,
        second_moments=True,
        paired=True,
        options=ist.capture.CaptureOptions(pairs_at_once=3, checkpoint=tmp_path / "x"),
    )
    site = Site("resid_post", 2)
    assert parts.differences is not None and parts.differences.rows is None
    assert parts.present.rows is None and int(parts.of_pairs().count[0]) == 7
    for name, found in estimators.ESTIMATORS.items():
        torch.testing.assert_close(
            found(parts, site), found(whole, site), atol=1e-4, rtol=1e-3, msg=name
        )
    torch.testing.assert_close(whole.of_pairs().mean[site][0], whole.shift(site))
    assert len(list(tmp_path.iterdir())) == 6  # three parts of two sides, to go on from


def test_a_subset_is_the_sides_of_those_pairs(model: HookedLM):
    several = pairs().fit
    kept = [
        ist.capture.capture_moments(model, side, keep_rows=True, second_moments=True)
        for side in (several.present, several.absent)
    ]
    part = ContrastMoments.of_rows(*kept).subset(torch.tensor([0, 1, 4, 5]))
    chosen = ist.ContrastSet(several.name, several.pairs[:2] + several.pairs[4:])
    alone = capture_contrast(model, chosen, second_moments=True, paired=True)
    for name, found in estimators.ESTIMATORS.items():
        site = Site("resid_post", 1)
        torch.testing.assert_close(
            found(part, site), found(alone, site), atol=1e-4, rtol=1e-3, msg=name
        )
    twice = ContrastMoments.of_rows(*kept).subset(torch.tensor([3, 3, 3]))
    assert float(twice.within(site).abs().max()) < 1e-9


def test_given_directions_become_a_vector(model: HookedLM):
    several = pairs().fit
    both = capture_contrast(model, several, [Site("resid_post", 1), Site("resid_post", 2)])
    given = {"name": several.name, "data_hash": several.hash, "model": model}
    raw = torch.randn(2, model.d_model, generator=torch.Generator().manual_seed(0))
    found = fitting.fit_along(both, raw, "by hand", **given)
    torch.testing.assert_close(
        found.directions, fitting.fit_along(both, -3 * raw, "by hand", **given).directions
    )
    torch.testing.assert_close(found.cosine(replace(found, directions=raw)).abs(), torch.ones(2))
    assert found.card.estimator == "by hand"
    with pytest.raises(VectorError, match="1 directions for 2 sites"):
        fitting.fit_along(both, raw[:1], "by hand", **given)


def test_what_cannot_be_estimated_is_refused_with_the_mend(model: HookedLM):
    with pytest.raises(VectorError, match="'pca', 'pca_centred', 'lda', 'whitened'"):
        ist.fit(model, pairs(), estimator="median")
    for position in ("all", "generated"):
        with pytest.raises(VectorError, match="use 'last' or an index"):
            ist.fit(model, pairs(), estimator="pca", position=position)
    both = capture_contrast(model, pairs().fit, [SITE])
    with pytest.raises(VectorError, match="paired=True"):
        estimators.pca(both, SITE)
    with pytest.raises(CaptureError, match="second_moments=True"):
        estimators.lda(both, SITE)
    with pytest.raises(VectorError, match="keep_rows=True"):
        ContrastMoments.of_rows(both.present, both.absent)
    other = capture_contrast(model, pairs().fit, [Site("resid_post", 1)])
    with pytest.raises(VectorError, match="the two sides have sites"):
        ContrastMoments(both.present, other.absent)


def test_lda_may_be_read_along_answers(model: HookedLM):
    found = ist.fit(model, pairs(), estimator="lda", position="generated", max_new_tokens=3)
    means = ist.fit(model, pairs(), position="generated", max_new_tokens=3)
    assert found.card.position == "generated" and bool((found.cosine(means) > 0).all())


def test_directions_of_other_estimators_lose_their_targets_when_made_orthogonal(
    tiny: Callable[[str], HookedLM],
):
    model = tiny("llama3")
    other = ist.world.instruction("punctuation:no_comma", fit=6, select=0, test=0)
    made = orthogonalise([ist.fit(model, pairs()), ist.fit(model, other, estimator="lda")])
    assert made[0].targets is not None and made[1].targets is None
