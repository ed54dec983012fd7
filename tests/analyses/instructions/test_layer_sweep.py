"""Every analysis on two instructions of the bundled model: it runs, and leaves what it says."""

from __future__ import annotations

import polars as pl
import pytest

import interp_steer as ist
from analyses.instructions import composition, word_steering
from analyses.instructions.layer_search import PickedLayer, choose_layers, rows_of_operation
from analyses.kit.cli import command_line

SMALL = [
    "--instruction",
    "change_case:english_lowercase",
    "detectable_format:title",
    "--n-fit",
    "12",
    "--n-select",
    "4",
    "--max-new-tokens",
    "48",
    "--layers",
    "2",
    "5",
]


def test_similarity(run):
    results = run("similarity", *SMALL[:3], "--n", "8")["similarity"]
    assert set(results.captions) == {"similarity_by_layer", "similarity_map"}
    frame = results.records()
    assert frame is not None
    assert frame.group_by("instruction", "comparison").len()["len"].to_list() == [8] * 6
    assert frame.filter(
        (pl.col("low") > pl.col("cosine")) | (pl.col("cosine") > pl.col("high"))
    ).is_empty()


def test_layer_sweep(run):
    results = run("layer_sweep", *SMALL)["layer_sweep"]
    records = results.records()
    assert records is not None
    # Two instructions, four prompts, without and with the text, unsteered and at two layers.
    assert records.height == 2 * 4 * 2 * 3
    drawn = {"accuracy_by_layer", "accuracy_by_layer_with_text", "accuracy_against_damage"}
    assert drawn == set(results.captions)
    steered = records.filter(pl.col("layer").is_not_null() & ~pl.col("instructed"))
    assert (steered["kl"] > 0).all() and (steered["perplexity_ratio"] > 0).all()
    for rule in ("paper", "interval"):
        chosen = results.summary[f"layer.change_case:english_lowercase.without_text.{rule}"]
        assert chosen in (None, 2, 5)
    assert len(list(results.path.glob("vectors*.safetensors"))) == 2


@pytest.mark.parametrize("search", [pytest.param("early", marks=pytest.mark.slow), "race"])
def test_layer_sweep_with_fewer_tokens_chooses_the_same(run, search):
    fewer = run("layer_sweep", *SMALL, "--search", search)["layer_sweep"]
    whole = run("layer_sweep", *SMALL)["layer_sweep"]  # later: whole answers would be taken again
    tokens = [results.records()["n_tokens"].sum() for results in (whole, fewer)]
    assert tokens[1] < tokens[0]
    chosen = [key for key in fewer.summary if key.startswith("layer.")]
    assert len(chosen) == 4 and all(key.endswith(".interval") for key in chosen)
    assert all(fewer.summary[key] == whole.summary[key] for key in chosen)


def test_the_papers_rule_is_refused_answers_that_are_cut(capsys):
    with pytest.raises(SystemExit, match="2"):
        command_line(["format_steering", "--rule", "paper", "--search", "race"])
    said = " ".join(capsys.readouterr().err.split())
    assert "'race'" in said and "--rule interval" in said


def test_vocabulary(run):
    results = run("vocabulary", *SMALL[:5], "--top", "3")["vocabulary"]
    records = results.records()
    assert records is not None
    # Two instructions, a vector and a random one, eight layers, two sides, three tokens.
    assert records.height == 2 * 2 * 8 * 2 * 3
    raised = records.filter(pl.col("side") == "raised")
    for (_,), rows in raised.group_by("instruction"):
        scores = rows.filter((pl.col("layer") == 5) & (pl.col("setting") == "vector"))["score"]
        assert scores.to_list() == sorted(scores, reverse=True)
    assert set(results.captions) == {"tokens"}


def test_the_best_operation_is_picked(run):
    given = [*SMALL, "--operations", "project", "add:4@generated"]
    results = run("layer_sweep", *given)["layer_sweep"]
    records = results.records()
    assert records is not None
    # Two instructions, four prompts, two ways to ask; unsteered, and two layers by two operations.
    assert records.height == 2 * 4 * 2 * (1 + 2 * 2)
    assert set(records["operation"].drop_nulls()) == {"project", "add:4@generated"}
    for (name, instructed, rule), picked in choose_layers(records).items():
        sound = {
            operation: PickedLayer(
                operation, ist.select_layer(rows_of_operation(rows, operation), rule)
            )
            for rows in [
                records.filter(
                    (pl.col("instruction") == name) & (pl.col("instructed") == instructed)
                )
            ]
            for operation in ("project", "add:4@generated")
        }
        assert picked.n_sound == max(layer.n_sound for layer in sound.values())
    assert "accuracy_by_layer.add_4_at_generated" in results.captions


def test_composition(run):
    names = ("startend:quotation", "change_case:capital_word_frequency")
    given = ["--instruction", *names, "--n-fit", "32", "--operations", "project", "generated/add:3"]
    sizes = ["--n-select", "8", "--n-test", "4", "--layers", "3", "4", "--max-new-tokens", "80"]
    results = run("composition", *given, *sizes)["composition"]
    records = results.records()
    assert records is not None
    # Four requests: under no vector and each of two; both in three ways, and asked for in words.
    assert records.height == 4 * (3 + 6)
    for way in ("own layers", "one layer", "orthogonal"):
        rows = records.filter(pl.col("setting") == way)
        assert all(line.count("@resid_post.") == 2 for line in rows["applied"])
        both = rows[names[0]] & rows[names[1]]
        assert rows["strict"].equals(both.alias("strict"))
    (one,) = records.filter(pl.col("setting") == "one layer")["applied"].unique()
    assert one.count("@resid_post.3") == 2 or one.count("@resid_post.4") == 2
    asked = records.filter(pl.col("setting") == "instruction")["prompt"]
    plain = records.filter(pl.col("setting") == "none")["prompt"].head(4)
    assert all(len(with_both) > len(bare) for with_both, bare in zip(asked, plain, strict=True))
    assert results.summary["instructions"] == 2
    # Training of the bundled models joined the two.
    assert "all_of_2.instruction.seen_pairs" in results.summary
    assert "all_of_2.instruction.unseen_pair" not in results.summary


def test_a_composition_needs_two_that_can_be_steered_towards(capsys, tmp_path):
    given = ["composition", *SMALL, "--operations", "add:0.01", "--results", str(tmp_path)]
    assert command_line(given) != 0
    assert "--operations" in " ".join(capsys.readouterr().err.split())


def test_interference_is_counted_answer_by_answer():
    names = ["a", "b"]
    rows = [
        {
            "setting": {"none": "none", "a + b": "own layers"}.get(vectors, "alone"),
            "instruction": vectors,
            "operation": vectors,
            "a": a,
            "b": b,
            "degenerate": False,
        }
        for vectors, outcomes in {
            "none": [(False, False)] * 4,
            "a": [(True, False)] * 4,
            "b": [(False, True), (True, True), (False, False), (False, True)],
            "a + b": [(True, True), (True, False), (True, False), (False, True)],
        }.items()
        for a, b in outcomes
    ]
    table = composition.interference(pl.DataFrame(rows), names)
    found = composition.numbers(table, names)
    assert found["kept.a + b.a"] == pytest.approx(0.75)
    assert found["kept.a + b.b"] == pytest.approx(0.5 / 0.75)
    assert found["kept.at_least_0.8"] == 0.0


def test_cross_model(run):
    given = [*SMALL, "--n-test", "4", "--operations", "project"]
    results = run("cross_model", *given)["cross_model"]
    records = results.records()
    assert records is not None
    # Two instructions, four prompts; unsteered, two sources and a random one, two ways to ask.
    assert records.height == 2 * 4 * (2 + 2 * 2 + 1)
    assert {"own vector", "sibling vector", "instruction + sibling"} <= set(records["setting"])
    assert all(prompt.startswith("Q: ") for prompt in records["prompt"])
    assert all(-1 <= results.summary[f"cosine.last.{layer}"] <= 1 for layer in range(8))
    assert "cosine_by_layer" in results.captions


def test_word_steering(run):
    given = ["--layers", "4", "--weights", "2", "--n-fit", "6", "--n-select", "3", "--n-test", "4"]
    results = run("word_steering", *given, "--max-new-tokens", "48")["word_steering"]
    records = results.records()
    assert records is not None
    # Two tasks, four prompts, five settings.
    assert records.height == 2 * 4 * 5
    for task in ("inclusion", "exclusion"):
        rows = records.filter(pl.col("instruction") == task)
        assert set(rows["setting"]) == {"none", "instruction", "steered", "both", "random"}
        assert 0 <= results.summary[f"mcnemar_p.{task}.steered_over_none"] <= 1
    subtracted = records.filter(pl.col("operation") == "subtract the vector of inclusion")
    assert (subtracted["strength"] < 0).all()
    drawn = {"accuracy_by_task", "accuracy_against_damage", "weight_and_quality"}
    assert drawn | {"casing_and_exclusion"} == set(results.captions)
    assert "layer.casing" in results.summary


def test_a_garbled_answer_is_no_success_where_a_weight_is_chosen():
    settings = [word_steering.Setting("inclusion", 4, weight) for weight in (1.0, 2.0, 3.0)]
    outcomes = {  # answers that succeed, are garbled, are degenerate
        1.0: (2, 0, 0),
        2.0: (4, 3, 0),
        3.0: (4, 0, 1),
    }
    rows = [
        {
            "setting": "steered",
            "operation": settings[0].operation,
            "layer": 4,
            "strength": weight,
            "strict": n < hits,
            "garbled": n < garbled,
            "degenerate": n < degenerate,
        }
        for weight, (hits, garbled, degenerate) in outcomes.items()
        for n in range(4)
    ]
    plain = {"setting": "none", "strict": False, "garbled": None, "degenerate": False}
    found = pl.DataFrame([*rows, plain])
    assert word_steering.best_setting(found, settings).weight == 1.0
    sound = found.with_columns(pl.lit(None, dtype=pl.Boolean).alias("garbled"))
    assert word_steering.best_setting(sound, settings).weight == 2.0


def test_format_steering_has_its_controls(run):
    given = [*SMALL, "--n-test", "4", "--draws", "2", "--operations", "add:0.3kl"]
    results = run("format_steering", *given)["format_steering"]
    records = results.records()
    assert records is not None
    # Two instructions, four prompts; four settings, two random directions, two other controls.
    assert records.height == 2 * 4 * (4 + 2 + 2)
    steered = records.filter(pl.col("setting") == "steered")
    for control in ("shuffled", "others"):
        other = records.filter(pl.col("setting") == control)
        assert other["layer"].equals(steered["layer"])
        assert not set(other["applied"]) & set(steered["applied"]) - {"unsteered"}
    draws = records.filter(pl.col("setting") == "random")["draw"].unique().sort().to_list()
    assert draws == [0, 1]
    for setting in ("none", "steered", "random", "shuffled", "others", "instruction", "both"):
        assert 0 <= results.summary[f"accuracy.{setting}"] <= 1
    assert results.summary["kl.steered"] >= 0
    assert -1 <= results.summary["gain.steered_over_random"] <= 1


def test_a_strength_that_cannot_be_reached_is_left_out_and_said(run):
    given = [*SMALL[:2], *SMALL[3:], "--operations", "project", "add:1000kl"]
    with pytest.warns(UserWarning, match="add:1000kl is not tried at layer 2.*smaller budget"):
        results = run("layer_sweep", *given)["layer_sweep"]
    assert set(results.records()["operation"].drop_nulls()) == {"project"}


def test_an_instruction_may_have_arguments(run):
    given = ["--instruction", "length_constraints:number_words?relation=less than", *SMALL[3:]]
    results = run("layer_sweep", *given)["layer_sweep"]
    assert set(results.records()["instruction"]) == {given[1]}


def test_an_argument_that_is_not_written_out_is_refused(capsys, tmp_path):
    given = ["layer_sweep", "--instruction", "punctuation:no_comma?", "--results", str(tmp_path)]
    assert command_line(given) != 0
    assert "no argument behind its question mark" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_demo_gathers_the_three(run, tmp_path):
    found = run("demo", *SMALL, "--n-test", "4")
    assert set(found) == {"demo", "similarity", "layer_sweep", "format_steering"}
    summary = found["demo"].summary
    for setting in ("none", "steered", "random", "instruction", "both"):
        assert 0 <= summary[f"accuracy.{setting}.low"] <= summary[f"accuracy.{setting}"] <= 1
    assert summary["instructions"] == 2 and summary["wall_seconds"] > 0
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "toy model" in page and "format_steering" in page


@pytest.mark.slow
def test_paper_a_gathers_every_experiment_and_says_which_cannot_be_asked(run, tmp_path):
    sizes = ["--n-fit", "8", "--n-select", "2", "--n-test", "2", "--max-new-tokens", "24"]
    given = [*SMALL[:3], *sizes, "--operations", "add:0.01", "--models", "burattino-instruct"]
    found = run("paper_a", *given)
    parts = set(found) - {"paper_a"}
    assert {"format_steering", "word_steering", "cross_model", "response_quality"} <= parts
    page = (tmp_path / "paper_a" / "report.html").read_text()
    # A weight that moves nothing brings no two properties that could be combined.
    assert "composition" not in parts and "composition was left out" in page
    seconds = {key for key in found["paper_a"].summary if key.endswith(".seconds")}
    assert seconds == {f"{part}.seconds" for part in parts}
