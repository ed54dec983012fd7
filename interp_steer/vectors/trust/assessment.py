"""Can a vector be trusted? How sure it is, layer by layer, from the pairs that it was fitted on.

:func:`fit_with_reliability` writes it on the vector's card; what it is made of is here too, for rows of any kind:
other pairs (:mod:`interp_steer.vectors.trust.reliability`) and no property (:mod:`interp_steer.vectors.trust.permutation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from interp_steer.capture.activations import capture_moments
from interp_steer.capture.moments import Moments
from interp_steer.capture.pair_differences import Groups, differences
from interp_steer.contrast.contrast_set import ContrastSet, plain_text, take_split
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import check_model
from interp_steer.vectors.card import Reliability
from interp_steer.vectors.fitting import difference_in_means
from interp_steer.vectors.steering_vector import SteeringVector
from interp_steer.vectors.trust.permutation import (
    PermutationTest,
    permutation_test,
    separation_test,
)
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
    """Fit a difference in means and write on its card how sure it is, in the one pass.

    Activations are kept until it is known, so that memory grows with the pairs. Pairs of the same
    query are taken as a group.

    Args:
        model: whose activations are read.
        pairs: of a whole set only the ``fit`` split is used; of a set with one split, all of it.
        component: one of :data:`interp_steer.models.sites.COMPONENTS`.
        layers: which layers; all when not given.
        position: ``"last"`` or an index.
        batch_size: the most prompts in a batch.
        draws: see :func:`assess`.
        seed: of the draws.

    Raises:
        VectorError: as :func:`assess`.
        ContrastError: when a whole set has no ``fit`` pairs.
        SiteError: for a component or a layer that the model does not have.

    Example:
        >>> vector = ist.trust.fit_with_reliability(model, pairs)          # doctest: +SKIP
        >>> print(vector.card.reliability.at(5))              # doctest: +SKIP
        0.978 [0.967, 0.983]
    """
    check_model(model)
    pairs = take_split(pairs, "fit")
    sites = model.sites(component, layers)
    present, absent = (
        capture_moments(model, prompts, sites, position, keep_rows=True, batch_size=batch_size)
        for prompts in (pairs.present, pairs.absent)
    )
    vector = difference_in_means(
        present, absent, name=pairs.name, data_hash=pairs.hash, model=model, split=pairs.split
    )
    groups = [plain_text(query) for query in pairs.queries]
    found = assess(present, absent, groups=groups, draws=draws, seed=seed)
    return replace(vector, card=replace(vector.card, reliability=found))


def assess(
    present: Moments,
    absent: Moments,
    *,
    groups: Groups = None,
    draws: int = 1000,
    seed: int = 0,
) -> Reliability:
    """How sure the difference in means of two sides is, layer by layer: for the vector's card.

    Args:
        present: captured with ``keep_rows=True`` at one position of each prompt, at one component.
        absent: the same of the prompts without the property, in the order of the pairs.
        groups: see the module.
        draws: of the bootstrap, and of the permutation test, which gets one less, so that a p-value
            is at least ``1 / draws``.
        seed: of the draws.

    Raises:
        VectorError: as :func:`differences` and :func:`bootstrap_cosine`.
    """
    found = []
    for site in present.sites:
        rows = differences(present, absent, site)
        found.append(
            (
                bootstrap_cosine(rows, groups=groups, draws=draws, seed=seed).population,
                split_half(rows, groups=groups, seed=seed).whole,
                permutation_test(rows, groups=groups, draws=draws - 1, seed=seed).p_value,
            )
        )
    cosines, halves, p_values = zip(*found, strict=True)
    return Reliability(
        layers=tuple(site.layer for site in present.sites),
        n=cosines[0].n,
        cosine=tuple(one.value for one in cosines),
        low=tuple(one.low for one in cosines),
        high=tuple(one.high for one in cosines),
        split_half=tuple(one.value for one in halves),
        p_value=p_values,
    )
