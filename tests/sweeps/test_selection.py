"""The layer rules on hand-made records: ties, degenerate cells, a tie with no steering at all."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_steer.errors import ScoringError
from interp_steer.sweeps.selection import is_improvable, select_layer


def records(
    cells: dict[int | None, str], degenerate: dict[int | None, int] | None = None
) -> pl.DataFrame:
    """Records from strings of outcomes, such as ``"110"``; so many first answers are degenerate."""
    rows = [
        {
            "instruction": "punctuation:no_comma",
            "instructed": False,
            "layer": layer,
            "key": f"prompt-{index:02}",
            "strict": outcome == "1",
            "degenerate": index < (degenerate or {}).get(layer, 0),
        }
        for layer, outcomes in cells.items()
        for index, outcome in enumerate(outcomes)
    ]
    return pl.DataFrame(rows, schema_overrides={"layer": pl.Int64})


def test_paper_takes_the_first_of_equal_maxima():
    swept = records({None: "0000", 0: "0100", 1: "1110", 2: "0111", 3: "1100"})
    assert select_layer(swept, "paper").layer == 1


def test_paper_prefers_no_steering_on_a_tie():
    assert select_layer(records({None: "1100", 0: "0011", 1: "1000"}), "paper").layer is None


def test_paper_zeroes_layers_with_degenerate_answers():
    swept = records({None: "0000", 0: "1111", 1: "0110"}, degenerate={0: 1})
    assert select_layer(swept, "paper").layer == 1
    # A base model's own share of degenerate answers is tolerated.
    assert select_layer(swept, "paper", tolerated=0.25).layer == 0


def test_paper_falls_back_to_none_when_every_layer_is_degenerate():
    swept = records({None: "0000", 0: "1111", 1: "1111"}, degenerate={0: 1, 1: 4})
    assert select_layer(swept, "paper").layer is None


def test_records_may_come_in_any_order():
    swept = records({None: "00000000", 0: "11110000", 1: "11111111", 2: "11111110"})
    shuffled = swept.sample(fraction=1.0, shuffle=True, seed=3)
    for rule in ("paper", "interval"):
        assert select_layer(shuffled, rule).layer == select_layer(swept, rule).layer


def test_interval_takes_the_middle_of_the_longest_run():
    good, bad = "1" * 12, "0" * 12
    swept = records({None: bad, 0: good, 1: bad, 2: good, 3: good, 4: good, 5: bad})
    choice = select_layer(swept, "interval")
    assert choice.plateau == (0, 2, 3, 4)
    assert choice.layer == 3


def test_interval_counts_a_garbled_answer_as_a_failure_and_paper_does_not_know_it():
    swept = records({None: "0" * 12, 0: "1" * 12, 1: "1" * 11 + "0"})
    garbled = pl.col("layer").fill_null(-1) == 0
    marked = swept.with_columns(garbled=pl.when(garbled).then(True).otherwise(None))
    assert select_layer(marked, "interval").layer == 1
    assert select_layer(marked, "paper").layer == 0
    assert select_layer(swept, "interval").plateau == (0, 1)


def test_interval_chooses_none_without_a_significant_gain():
    swept = records({None: "0" * 12, 0: "1" * 3 + "0" * 9, 1: "0" * 12})
    assert select_layer(swept, "interval").layer is None
    assert select_layer(swept, "paper").layer == 0


def test_interval_makes_a_layer_pay_for_each_degenerate_answer():
    good, fair = "1" * 12, "1" * 11 + "0"
    swept = records({None: "0" * 12, 0: good, 1: fair, 2: fair}, degenerate={0: 10})
    choice = select_layer(swept, "interval")
    assert choice.plateau == (1, 2)
    assert choice.layer == 1


def test_interval_forgives_one_degenerate_answer_where_the_paper_does_not():
    swept = records({None: "0" * 12, 0: "1" * 12, 1: "1" * 5 + "0" * 7}, degenerate={0: 1})
    assert select_layer(swept, "interval").layer == 0
    assert select_layer(swept, "paper").layer == 1


@given(st.text("01", min_size=1, max_size=24), st.integers(0, 3))
def test_where_nothing_is_improvable_not_even_a_perfect_layer_is_chosen(plain, degenerate):
    swept = records({None: plain, 0: "1" * len(plain)}, degenerate={None: degenerate})
    perfect = select_layer(swept, "interval").layer is not None
    assert is_improvable(swept.filter(pl.col("layer").is_null())) is perfect


def test_choice_says_what_it_was_made_on():
    choice = select_layer(records({None: "0000", 2: "1110"}), "paper")
    assert choice.accuracy.value == 0.75
    assert choice.accuracy.n == 4
    assert [candidate.layer for candidate in choice.candidates] == [None, 2]


def test_bad_records_are_refused_with_the_mend():
    swept = records({None: "00", 0: "11"})
    with pytest.raises(ScoringError, match="choose one of"):
        select_layer(swept, "best")
    with pytest.raises(ScoringError, match=r"add Cell\('none'\)"):
        select_layer(swept.filter(pl.col("layer").is_not_null()), "paper")
    with pytest.raises(ScoringError, match="same prompts"):
        select_layer(pl.concat([swept, records({1: "111"})]), "paper")
    mixed = pl.concat([swept, swept.with_columns(instruction=pl.lit("startend:quotation"))])
    with pytest.raises(ScoringError, match="filter the records first"):
        select_layer(mixed, "paper")
