"""A sweep: cells share batches, and each is what it would be alone."""

from __future__ import annotations

import polars as pl
import pytest

import interp_steer as ist
from interp_steer.errors import GenerationError, ScoringError
from interp_steer.sweeps.damage import greatest_perplexity, with_divergence, with_fluency
from interp_steer.sweeps.grid import RECORD

LOWERCASE = "change_case:english_lowercase"


@pytest.fixture(scope="module")
def pairs():
    queries = [f"Name {n} {thing}." for n in ("one", "two", "ten") for thing in ("trees", "birds")]
    phrasings = ["No capitals.", "Small letters only.", "In lowercase."]
    return ist.contrast.build(
        "lowercase", queries, phrasings, fit=2, select=2, test=2,
        instruction_ids=[LOWERCASE], kwargs=[{}],
    )  # fmt: skip


@pytest.fixture(scope="module")
def vector(tiny, pairs):
    return ist.fit(tiny("llama3"), pairs.fit)


def test_every_cell_is_what_it_is_alone(tiny, pairs, vector):
    model = tiny("llama3")
    grid = [
        ist.Cell("none"),
        ist.Cell("steered", vector.at(1).project(), 1),
        ist.Cell("random", vector.like_random(0).at(2).add(4.0), 2, draw=0),
        ist.Cell("both", vector.at(0).add(-3.0), 0, instructed=True),
    ]
    together = ist.sweep(model, grid, pairs.select, max_new_tokens=6, batch_size=5)
    alone = [ist.sweep(model, [cell], pairs.select, max_new_tokens=6) for cell in grid]
    assert together.equals(pl.concat(alone))
    assert list(together.columns[: len(RECORD)]) == list(RECORD)
    assert together["setting"].to_list() == [c.setting for c in grid for _ in pairs.select]
    assert together["applied"][0] == "unsteered"


def test_a_score_may_be_unknown_for_many_rows_before_it_is_known(tiny, pairs, vector):
    grid = [ist.Cell("none")] * 19 + [ist.Cell("zero", vector.at(1).add(0.0), 1)]
    seen = []

    def late(pair, completion):
        seen.append(pair)
        return {"late": True if len(seen) > 110 else None}

    records = ist.sweep(tiny("llama3"), grid, pairs, score=late, max_new_tokens=1)
    assert records["late"].to_list() == [None] * 110 + [True] * 10


def test_zero_strength_cell_is_the_unsteered_one(tiny, pairs, vector):
    grid = [ist.Cell("none"), ist.Cell("zero", vector.at(1).add(0.0), 1)]
    none, zero = ist.sweep(tiny("llama3"), grid, pairs, max_new_tokens=6).partition_by("setting")
    assert none["answer"].to_list() == zero["answer"].to_list()


def test_instructed_cells_ask_with_the_instruction(tiny, pairs):
    model = tiny("llama3")
    grid = [ist.Cell("none"), ist.Cell("instruction", instructed=True)]
    records = ist.sweep(model, grid, pairs.test, max_new_tokens=2)
    for row in records.iter_rows(named=True):
        pair = next(p for p in pairs.test if p.key == row["key"])
        asked = pair.present if row["instructed"] else pair.absent
        assert row["prompt"] == model.render(asked)


def test_fluency_threshold_lies_below_every_plain_answer(tiny, pairs, vector):
    model = tiny("llama3")
    grid = [ist.Cell("none"), ist.Cell("steered", vector.at(1).add(50.0), 1)]
    records = ist.sweep(model, grid, pairs, max_new_tokens=8)
    measured = with_fluency(records, model)
    plain = measured.filter(pl.col("layer").is_null() & (pl.col("repetition") <= 0.5))
    assert not plain["degenerate"].any()
    strict = with_fluency(records, model, threshold=float("inf"))
    assert strict.filter(pl.col("perplexity").is_not_null())["degenerate"].all()


def test_what_cannot_be_swept_or_measured_is_refused(tiny, pairs, vector):
    model = tiny("llama3")
    with pytest.raises(GenerationError, match="give at least one Cell"):
        ist.sweep(model, [], pairs)
    steered = ist.sweep(model, [ist.Cell("steered", vector.at(1).project(), 1)], pairs.test,
                        max_new_tokens=2)  # fmt: skip
    with pytest.raises(ScoringError, match=r"add Cell\('none'\)"):
        with_fluency(steered, model)


def test_an_answer_harder_to_predict_than_all_unsteered_ones_is_garbled(tiny, pairs, vector):
    model = tiny("llama3")
    grid = [
        ist.Cell("none"),
        ist.Cell("steered", vector.at(1).add(80.0), 1),
        ist.Cell("instruction", instructed=True),
    ]
    found = with_fluency(ist.sweep(model, grid, pairs, max_new_tokens=8), model)
    plain = found.filter(pl.col("setting") != "steered")
    assert not plain["garbled"].any()
    most = greatest_perplexity(found)
    assert most == {LOWERCASE: plain["perplexity"].max()}
    steered = found.filter(pl.col("setting") == "steered")
    beyond = (steered["perplexity"] > most[LOWERCASE]).to_list()
    assert steered["garbled"].to_list() == beyond
    # Of later answers of the same instruction it is told by the limit that was read.
    again = with_fluency(steered, model, threshold=1.0, most=most)
    assert again["garbled"].to_list() == beyond
    unasked = with_fluency(found.filter(~pl.col("instructed")), model)
    assert unasked["garbled"].is_null().all()


def test_divergence_is_of_the_answers_that_the_plain_model_gave(tiny, pairs, vector):
    model = tiny("llama3")
    steer = vector.at(1).add(6.0)
    grid = [
        ist.Cell("none"),
        ist.Cell("steered", steer, 1),
        ist.Cell("zero", vector.at(1).add(0.0), 1),
        ist.Cell("instruction", instructed=True),
        ist.Cell("both", steer, 1, instructed=True),
    ]
    records = ist.sweep(model, grid, pairs.select, max_new_tokens=6)
    found = with_divergence(records, model, grid, pairs.select)
    assert found.drop("kl", "perplexity_ratio").equals(records)
    by_setting = {setting: rows for (setting,), rows in found.group_by("setting")}
    n = len(pairs.select)
    assert by_setting["none"]["kl"].to_list() == [0.0] * n
    assert by_setting["none"]["perplexity_ratio"].to_list() == [1.0] * n
    assert all(kl < 1e-7 for kl in by_setting["zero"]["kl"])
    for told in ("instruction", "both"):
        assert by_setting[told]["kl"].is_null().all()
    answers = by_setting["none"]["answer"].to_list()
    expected = ist.divergence(model, pairs.select.absent, answers, steer)
    assert by_setting["steered"]["kl"].to_list() == pytest.approx([e.kl for e in expected])
    with pytest.raises(ScoringError, match="as sweep"):
        with_divergence(records, model, grid[:2], pairs.select)
    steered = ist.sweep(model, grid[1:2], pairs.select, max_new_tokens=2)
    with pytest.raises(ScoringError, match=r"add Cell\('none'\)"):
        with_divergence(steered, model, grid[1:2], pairs.select)
