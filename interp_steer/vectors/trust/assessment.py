"""Assess the reliability of a vector, layer by layer, from the pairs that it was fitted on.

:func:`fit_with_reliability` writes the result on the vector's card. The parts of the assessment are
functions too: what other pairs would give (:mod:`interp_steer.vectors.trust.reliability`), and what
pairs without the property would give (:mod:`interp_steer.vectors.trust.permutation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from interp_steer.capture.activations import capture_moments
from interp_steer.capture.moments import Moments
from interp_steer.capture.options import CaptureOptions
from interp_steer.capture.pair_differences import Groups, differences
from interp_steer.contrast.contrast_set import ContrastSet, plain_text, take_split
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import check_model
from interp_steer.statistics.permutation import PermutationTest
from interp_steer.vectors.card import Reliability
from interp_steer.vectors.fitting import difference_in_means
from interp_steer.vectors.steering_vector import SteeringVector
from interp_steer.vectors.trust.permutation import permutation_test, separation_test
from interp_steer.vectors.trust.reliability import (
    Agreement,
    BootstrapCosine,
    SplitHalf,
    agreement,
    bootstrap_cosine,
    pairs_needed,
    spearman_brown,
    split_half,
)

__all__ = [
    "Agreement",
    "BootstrapCosine",
    "PermutationTest",
    "Reliability",
    "SplitHalf",
    "agreement",
    "assess",
    "bootstrap_cosine",
    "differences",
    "fit_with_reliability",
    "pairs_needed",
    "permutation_test",
    "separation_test",
    "spearman_brown",
    "split_half",
]


def fit_with_reliability(
    model: HookedLM,
    pairs: ContrastSet,
    *,
    component: str = "resid_post",
    layers: Sequence[int] | None = None,
    position: str | int = "last",
    batch_size: int = 32,
    draws: int = 1000,
    seed: int = 0,
) -> SteeringVector:
    """Fit a difference in means and write its reliability on its card, in one pass.

    Activations are kept until the reliability is computed, so memory grows with the pairs. Pairs of
    the same query form a group.

    Args:
        model: the model whose activations are read.
        pairs: of a whole set only the ``fit`` split is used; of a set with one split, all of it.
        component: one of :data:`interp_steer.models.sites.COMPONENTS`.
        layers: the layers to read; all when not given.
        position: ``"last"`` or an index.
        batch_size: the most prompts in a batch.
        draws: see :func:`assess`.
        seed: of the draws.

    Raises:
        VectorError: as :func:`assess`.
        ContrastError: when a whole set has no ``fit`` pairs.
        SiteError: for a component or a layer that the model does not have.

    Example:
        >>> vector = fit_with_reliability(model, pairs, layers=[5], draws=50)
        >>> 0.5 < vector.card.reliability.at(5).value < 1
        True
    """
    check_model(model)
    pairs = take_split(pairs, "fit")
    sites = model.sites(component, layers)
    present, absent = (
        capture_moments(
            model,
            prompts,
            sites,
            position,
            keep_rows=True,
            options=CaptureOptions(batch_size=batch_size),
        )
        for prompts in (pairs.present, pairs.absent)
    )
    vector = difference_in_means(
        present, absent, name=pairs.name, data_hash=pairs.hash, model=model, split=pairs.split
    )
    groups = [plain_text(query) for query in pairs.queries]
    reliability = assess(present, absent, groups=groups, draws=draws, seed=seed)
    return replace(vector, card=replace(vector.card, reliability=reliability))


def assess(
    present: Moments,
    absent: Moments,
    *,
    groups: Groups = None,
    draws: int = 1000,
    seed: int = 0,
) -> Reliability:
    """Compute the reliability of the difference in means of two sides, layer by layer.

    Args:
        present: captured with ``keep_rows=True`` at one position of each prompt, at one component.
        absent: the same for the prompts without the property, in the order of the pairs.
        groups: a label for each pair, see :mod:`interp_steer.vectors.trust.reliability`.
        draws: the number of bootstrap draws. The permutation test has one draw less, so the least
            p-value is ``1 / draws``.
        seed: of the draws.

    Raises:
        VectorError: as :func:`differences` and :func:`bootstrap_cosine`.
    """
    by_layer = []
    for site in present.sites:
        rows = differences(present, absent, site)
        by_layer.append(
            (
                bootstrap_cosine(rows, groups=groups, draws=draws, seed=seed).population,
                split_half(rows, groups=groups, seed=seed).whole,
                permutation_test(rows, groups=groups, draws=draws - 1, seed=seed).p_value,
            )
        )
    cosines, halves, p_values = zip(*by_layer, strict=True)
    return Reliability(
        layers=tuple(site.layer for site in present.sites),
        n=cosines[0].n,
        cosine=tuple(interval.value for interval in cosines),
        low=tuple(interval.low for interval in cosines),
        high=tuple(interval.high for interval in cosines),
        split_half=tuple(interval.value for interval in halves),
        p_value=p_values,
    )
