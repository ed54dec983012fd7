"""Length and numbers of sentences: the analyses on few prompts, and what they choose and count."""

from __future__ import annotations

import sys

import polars as pl
import pytest
import torch

import interp_steer as ist
from analyses.instructions import lengths, sentence_steering
from analyses.instructions.length_steering import dose_response
from analyses.instructions.lengths import (
    LengthSetup,
    measure_length,
    most_changed_layer,
    sets_of_length,
)
from analyses.kit.activation_differences import Differences
from interp_steer.contrast.words_and_lengths import VERBOSITY, length_sets
from interp_steer.errors import OptionError
from interp_steer.world.queries import list_queries

FEW = ["--n-fit", "16", "--n-select", "2", "--n-test", "4", "--max-new-tokens", "48"]


def test_length_steering(run):
    given = [*FEW, "--layer", "3", "--weights", "1", "2"]
    results = run("length_steering", *given)["length_steering"]
    records = results.records()
    assert records is not None
    # Two vectors, four prompts, unsteered and two weights of the vector and of a random one.
    assert records.height == 2 * 4 * (1 + 2 * 2)
    assert records["words"].to_list() == [len(text.split()) for text in records["answer"]]
    drawn = {"words_by_weight", "words_distribution", "words_density", "differences"}
    assert drawn == set(results.captions)
    for kind in ("conciseness", "verbosity"):
        assert results.summary[f"words.{kind}.none.0"] > 0
        assert results.summary[f"kl.{kind}.steered.2"] > 0
        assert 1 <= results.summary[f"monotone_doses.{kind}"] <= 3
    placed = results.records("embedding")
    assert placed is not None
    assert placed["label"].to_list() == ["conciseness"] * 16 + ["verbosity"] * 16
    assert results.summary["layer.embedding"] == results.summary["layer.conciseness"] == 3
    assert 0 < results.summary["nearest_alike.chance"] < results.summary["nearest_alike"] <= 1


def test_any_sets_that_differ_in_length_have_a_dose_response(burattino_instruct, burattino_base):
    texts = [query.text for query in list_queries("held")]
    pairs = length_sets(texts, fit=8, test=2)[VERBOSITY]
    vector = ist.fit(burattino_instruct, pairs.fit)
    options = {"score": measure_length, "max_new_tokens": 24}
    records = dose_response(
        LengthSetup(burattino_instruct, burattino_base, 0, options), vector, 3, pairs, (1.0,)
    )
    assert records["setting"].to_list() == ["none"] * 2 + ["steered"] * 2 + ["random"] * 2
    assert records["strength"].to_list() == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    # No instruction of IFEval's is asked for: the answers are measured and not verified.
    assert "strict" not in records.columns and (records["words"] > 0).all()


def layers_frame(*rows: tuple[str, int | None, int, float]) -> pl.DataFrame:
    schema = ["setting", "layer", "words", "degenerate"]
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_the_layer_is_the_one_that_changes_length_most_beyond_a_random_direction():
    records = layers_frame(
        ("none", None, 40, 0.0),
        ("steered", 2, 20, 0.0),
        ("random", 2, 38, 0.0),
        ("steered", 3, 10, 0.0),  # more, but a random direction does nearly as much
        ("random", 3, 65, 0.0),
        ("steered", 4, 5, 0.5),  # most, at the price of degenerate answers
        ("random", 4, 40, 0.0),
    )
    assert most_changed_layer(records) == 2
    worn = records.with_columns(
        pl.when(pl.col("setting") == "steered").then(0.5).otherwise(0.0).alias("degenerate")
    )
    assert most_changed_layer(worn) == 4


def test_sentence_steering(run):
    asked = ["--at-most", "1", "2", "--exactly", "2", "--layers", "4", "5", "--weights", "2"]
    given = [*FEW, *asked, "--concise-layer", "4", "--concise-weight", "0.5"]
    results = run("sentence_steering", *given)["sentence_steering"]
    records = results.records()
    assert records is not None
    # Three numbers, four prompts, five settings.
    assert records.height == 3 * 4 * 5
    said = records.with_columns(
        pl.when(pl.col("relation") == "at most")
        .then(pl.col("sentences") <= pl.col("k"))
        .otherwise(pl.col("sentences") == pl.col("k"))
        .alias("counted")
    ).filter(pl.col("sentences") > 0)
    assert said["strict"].equals(said["counted"].alias("strict"))
    at_most = records.filter(pl.col("relation") == "at most")
    both = at_most.filter(pl.col("setting") == "both")
    assert set(both["strength"]) == {0.5} and set(both["layer"]) == {4}
    assert all("number_words less than" in line for line in both["applied"])
    control = at_most.filter(pl.col("setting") == sentence_steering.CONTROL)
    assert all("random-0" in line for line in control["applied"])
    assert control["prompt"].equals(both["prompt"])
    # No query is asked that the conciseness vector was made from.
    pairs = sets_of_length(0, fit=16, select=2, test=4)["conciseness"]
    assert not {*pairs.fit.queries, *pairs.select.queries} & set(at_most["query"])
    for relation in ("at_most", "exactly"):
        assert 0 <= results.summary[f"sentences.{relation}.both"] <= 1
        assert 0 <= results.summary[f"mcnemar_p.{relation}.both_over_instruction"] <= 1
        assert -1 <= results.summary[f"gain.{relation}.both_over_instruction"] <= 1
    assert results.summary["layer.exactly_2.without_text"] in (None, 4, 5)
    assert set(results.captions) == {"sentences", "differences"}


def test_gains_over_all_numbers_are_paired():
    rows = [
        {
            "relation": "at most",
            "k": k,
            "setting": setting,
            "query": f"q{n}",
            "strict": n < hits,
        }
        for k in (1, 2)
        for setting, hits in {
            "none": 0,
            "steered": 2,
            "instruction": 4,
            "both": 8,
            sentence_steering.CONTROL: 5,
        }.items()
        for n in range(10)
    ]
    numbers = sentence_steering.shares_and_gains(pl.DataFrame(rows))
    gain = numbers["gain.at_most.both_over_instruction"]
    assert gain.value == pytest.approx(0.4) and gain.n == 10  # queries, not answers
    # Eight prompts are won and none is lost.
    assert numbers["mcnemar_p.at_most.both_over_instruction"] == pytest.approx(2 * 0.5**8)
    assert numbers["share.at_most_2.both"].value == pytest.approx(0.8)


def made(groups: int, phrasings: int = 4, each: int = 3) -> Differences:
    """Labelled rows that lie around a direction of their label, each with a query of its own."""
    generator = torch.Generator().manual_seed(0)
    rows, labels, pairs = [], [], []
    for label in range(groups):
        for phrasing in range(phrasings):
            for number in range(each):
                row = 0.1 * torch.randn(8, generator=generator)
                row[label] += 1.0
                rows.append(row)
                labels.append(f"label {label}")
                query = f"Query {label}, {phrasing}, {number}?"
                said = f"Phrasing {phrasing}."
                pairs.append(ist.contrast.Pair(query, f"{query} {said}", query, phrasing=said))
    return Differences(torch.stack(rows), tuple(labels), tuple(pairs))


def test_labels_that_lie_apart_are_told_by_the_nearest_row():
    found = made(3).separation()
    assert found is not None
    assert found.accuracy.value == 1.0 and found.accuracy.n == 36
    # Of 27 rows of other phrasings 9 have the same label.
    assert found.chance == pytest.approx(1 / 3)


def test_rows_that_only_their_phrasing_places_do_not_tell_their_label():
    whole = made(4)
    # Each row lies where its phrasing says, and every label has every phrasing.
    place = [int(pair.phrasing[-2]) for pair in whole.pairs]
    rows = whole.rows.clone()
    rows[:, :4] = torch.nn.functional.one_hot(torch.tensor(place), 4).float()
    moved = Differences(rows, whole.labels, whole.pairs).separation()
    assert moved is not None and moved.accuracy.low < moved.chance < moved.accuracy.high


def test_one_phrasing_leaves_nothing_to_be_compared():
    assert made(2, phrasings=1).separation() is None


def test_a_map_is_made_alike_again_and_needs_four_rows():
    rows = made(3)
    placed = rows.embedding(seed=1)
    assert placed.columns == ["x", "y", "label"] and placed.height == 36
    assert placed.equals(rows.embedding(seed=1))
    few = Differences(rows.rows[:3], rows.labels[:3], rows.pairs[:3])
    with pytest.raises(OptionError, match="3 differences"):
        few.embedding(seed=0)
    smallest = Differences(rows.rows[:4], rows.labels[:4], rows.pairs[:4]).embedding(seed=0)
    assert smallest.height == 4


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(OptionError, match=r"interp_steer\[geometry\]"):
        made(2).embedding(seed=0)


def test_differences_are_of_the_two_sides_of_each_pair(tiny):
    model = tiny("llama3")
    pairs = ist.contrast.build(
        "x", ["One.", "Two.", "Three."], ["Be brief.", "Short."], fit=3, select=0, test=0
    )
    found = Differences.of(model, {"x": pairs}, layer=1)
    vector = ist.fit(model, pairs)
    assert found.labels == ("x",) * 3
    torch.testing.assert_close(found.rows.mean(0), vector.directions[1], atol=1e-4, rtol=1e-3)


def test_kinds_of_length_are_those_of_the_instruction():
    sets = sets_of_length(0, fit=4, select=2, test=2)
    assert {kind: pairs[0].kwargs[0]["relation"] for kind, pairs in sets.items()} == {
        kind: where["relation"] for kind, where in lengths.KINDS.items()
    }


def test_classes_of_length_are_another_source_of_the_vectors(run):
    few = ["--n-fit", "8", "--n-select", "2", "--n-test", "2", "--max-new-tokens", "24"]
    given = [*few, "--asked", "classes", "--layer", "3", "--weights", "1"]
    results = run("length_steering", *given)["length_steering"]
    records = results.records()
    assert records.height == 2 * 2 * (1 + 2)
    lines = records.filter(pl.col("setting") == "steered")["applied"].unique()
    names = {line.partition("(")[2].partition("@")[0] for line in lines}
    assert names == {"extremely concise", "extremely verbose"}
