"""Races drop what cannot win, keep what can, and choose what the whole sweep chooses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from interp_steer.errors import ScoringError
from interp_steer.statistics.paired import sign_evidence
from interp_steer.sweeps.racing import fewest_decisive_prompts, find_beaten

ERROR = 0.1


def races(chances: list[float], n_prompts: int, n_races: int, block: int = 4) -> list[set[int]]:
    """Who is still standing at the end of synthetic races, in which cells win independently."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n_races):
        outcomes = rng.random((len(chances), n_prompts)) < np.array(chances)[:, None]
        standing = np.arange(len(chances))
        for seen in range(block, n_prompts + 1, block):
            lost = find_beaten(outcomes[standing, :seen], len(chances) - 1, ERROR)
            standing = standing[~lost]
        found.append(set(standing.tolist()))
    return found


def test_the_best_cell_is_dropped_no_oftener_than_stated() -> None:
    dropped = [0 not in standing for standing in races([0.62, *[0.6] * 7], 200, 300)]
    assert ist.statistics.wilson(sum(dropped), len(dropped)).low <= ERROR
    # Also where all are equally good, which is the hardest case for a claim about one of them.
    dropped = [0 not in standing for standing in races([0.5] * 8, 200, 300)]
    assert ist.statistics.wilson(sum(dropped), len(dropped)).low <= ERROR


def test_clear_winners_are_left_alone_on_the_field() -> None:
    alone = [standing == {3} for standing in races([0.1, 0.1, 0.2, 0.95, 0.1, 0.0], 60, 100)]
    assert sum(alone) > 95


def test_evidence_is_seldom_large_for_equals_however_often_one_looks() -> None:
    rng = np.random.default_rng(1)
    wins = (rng.random((400, 300)) < 0.5).cumsum(1)
    ever = (sign_evidence(wins, np.arange(1, 301) - wins) >= 20).any(1)
    assert ist.statistics.wilson(int(ever.sum()), len(ever)).low <= 1 / 20


@given(st.integers(0, 200), st.integers(0, 200))
def test_evidence_is_the_mean_of_likelihood_ratios(wins: int, losses: int) -> None:
    chance = np.linspace(0.5, 1, 20_001)[:-1] + 0.5 / 40_000
    ratios = np.exp(wins * np.log(2 * chance) + losses * np.log(2 * (1 - chance)))
    assert float(sign_evidence(wins, losses)) == pytest.approx(ratios.mean(), rel=1e-3)
    assert sign_evidence(wins + 1, losses) > sign_evidence(wins, losses + 1)


@given(st.integers(1, 40), st.floats(0.001, 0.5))
def test_a_first_look_is_taken_when_it_can_tell_anything(rivals: int, error: float) -> None:
    n = fewest_decisive_prompts(rivals, error)
    for prompts, is_lost in ((n - 1, False), (n, True)):
        outcomes = np.array([[True] * prompts, [False] * prompts])
        assert find_beaten(outcomes, rivals, error).tolist() == [False, is_lost]


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_a_cell_that_succeeds_wherever_others_do_is_never_beaten(seed: int) -> None:
    outcomes = np.random.default_rng(seed).random((5, 40)) < 0.5
    outcomes[2] = outcomes.any(0)
    assert not find_beaten(outcomes, 4, 0.05)[2]


def test_bad_options_are_refused(model) -> None:
    pairs = ist.contrast.build("x", ["A", "B", "C"], ["D", "E", "F"], fit=1, select=1, test=1)
    with pytest.raises(ScoringError, match=r"error 1\.5 is not in \(0, 1\)"):
        ist.race(model, [ist.Cell("none")], pairs, model, error=1.5)
