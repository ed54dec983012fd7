"""Vectors that move to another architecture: shared prompts, scores, steering, the analysis."""

from __future__ import annotations

from random import Random

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from analyses import all_geometry
from analyses.geometry import cross_architecture
from analyses.geometry.cross_architecture import Config, list_kinds
from analyses.geometry.cross_architecture_alignment import BothSides, VectorsInBothModels
from analyses.geometry.cross_architecture_figures import TransferFigures, draw_answers
from analyses.geometry.cross_architecture_prompts import (
    FOREIGN,
    PROMPT_SETS,
    check_apart,
    sample_shared_prompts,
)
from analyses.geometry.cross_architecture_steering import (
    OWN,
    RANDOM,
    RANDOM_VECTOR,
    Contender,
    Steering,
    _choose_best,
    add_sound,
    compute_p_values,
    name_mapped,
    summarise_answers,
)
from analyses.kit.cli import command_line
from analyses.kit.parts import configure
from figures.printing.lint import complaints
from interp_steer.contrast.instructions import registry
from interp_steer.errors import OptionError
from interp_steer.vectors.transfer import ResidualMap, fitting
from interp_steer.world.queries import list_queries

CAPITAL, ITALIAN = "change_case:english_capital", "language:response_language?language=it"


# ------------------------------------------------------------------ shared prompts
@given(st.sampled_from(sorted(PROMPT_SETS)), st.integers(1, 120), st.integers(0, 50))
@settings(deadline=None, max_examples=25)
def test_shared_prompts_never_ask_for_what_is_steered_towards(asking, n, seed):
    prompts = sample_shared_prompts(asking, [CAPITAL, ITALIAN], n, seed)
    assert len(prompts) == n and prompts == sample_shared_prompts(
        asking, [CAPITAL, ITALIAN], n, seed
    )
    rng = Random(0)
    said = {
        registry.phrase(CAPITAL, {}, index, rng) for index in registry.phrasing_indices("trained")
    }
    for prompt in prompts:
        assert "italian" not in prompt.lower()
        assert not any(prompt.endswith(phrase) for phrase in said)


def test_shared_prompts_ask_for_what_they_say():
    plain, others, kin, broad = (
        sample_shared_prompts(asking, [CAPITAL, ITALIAN], 200, 0)
        for asking in ("plain", "others", "kin", "broad")
    )
    known = {query.text for query in list_queries("train")}
    assert set(plain) <= known
    for prompts, languages in ((others, False), (kin, True)):
        assert sum(prompt in known for prompt in prompts) in range(50, 60)
        assert any("French" in prompt for prompt in prompts) == languages
    foreign = {language: {q.text for q in list_queries("train", language)} for language in FOREIGN}
    assert broad[:100] == sample_shared_prompts("kin", [CAPITAL, ITALIAN], 100, 0)
    for texts in foreign.values():
        assert sum(prompt in texts for prompt in broad[100:]) == 25


def test_shared_prompts_that_cannot_be_are_refused():
    for asking, n in (("nothing", 10), ("plain", 0), ("plain", 10_000)):
        with pytest.raises(OptionError, match=r"shared|unknown"):
            sample_shared_prompts(asking, [CAPITAL], n, 0)
    pairs = ist.world.instruction(CAPITAL, fit=2, select=0, test=2)
    check_apart(sample_shared_prompts("kin", [CAPITAL], 50, 0), [pairs])
    with pytest.raises(OptionError, match="contrast set"):
        check_apart([f"{pairs.queries[0]} In French, please."], [pairs])


# ------------------------------------------------------------------ scores
@pytest.fixture(scope="module")
def pairs() -> ist.ContrastSet:
    return ist.world.instruction(CAPITAL, fit=8, select=2, test=6)


@pytest.mark.parametrize("read", ["last", "generated"])
def test_through_a_map_to_itself_a_model_is_as_good_as_itself(tiny, pairs, read):
    model = tiny("llama3")
    moved = VectorsInBothModels.of(model, model, pairs, read)
    made = fitting.fit_map(
        model, model, pairs.fit.absent, "identity", position=read, max_new_tokens=2
    )
    scores = {}
    for setting, quantity, layer, value in moved.score_map(
        made, [made.like_random(0)], draws=20, seed=0
    ):
        assert value.low <= value.value <= value.high
        scores[setting, quantity, layer] = value.value
    ceiling = moved.measure_ceiling(0)
    for layer in range(1, model.n_layers):
        assert scores["mapped", "cosine", layer] == pytest.approx(1, abs=1e-4)
        assert scores["mapped", "auroc", layer] == pytest.approx(ceiling[layer].value)
        assert abs(scores[RANDOM, "cosine", layer]) < 0.6


def test_resampled_pairs_give_vectors_about_the_vector(tiny, pairs):
    both = BothSides.of(tiny("gemma2"), pairs.fit, "generated")
    vector, drawn = both.vector.directions.double(), both.resample(400, 0)
    spread = drawn.std(dim=0) / 400**0.5
    assert ((drawn.mean(dim=0) - vector).abs() <= 6 * spread + 1e-6).all()
    mean = both.sums.sum(dim=1) / both.counts.sum(dim=1)[:, None, None]
    torch.testing.assert_close((mean[0] - mean[1]).float(), both.vector.directions)


# ------------------------------------------------------------------ steering
def searched() -> pl.DataFrame:
    cells = [("a", 0, 1), ("a", 1, 3), ("b", 0, 3), ("b", 1, 2)]
    rows = [
        ("ridge, kin", None, operation, layer, k < sound)
        for operation, layer, sound in cells
        for k in range(4)
    ] + [(RANDOM, 0, "b", 1, True)] * 4
    columns = ["setting", "draw", "operation", "layer", "sound"]
    return pl.DataFrame(rows, schema=columns, orient="row")


def test_the_first_of_the_best_cells_is_chosen_for_each_contender():
    choice = _choose_best(searched(), Contender("ridge, kin", {}))
    assert (choice.operation, choice.layer, choice.sound) == ("a", 1, 3)
    random = _choose_best(searched(), Contender(RANDOM, {}, 0))
    assert (random.operation, random.layer, random.sound) == ("b", 1, 4)


def test_an_answer_is_sound_that_obeys_and_is_a_text():
    rows = [(True, False, None), (True, None, None), (True, True, False), (True, False, True),
            (False, False, False)]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["strict", "degenerate", "garbled"], orient="row")
    assert add_sound(frame)["sound"].to_list() == [True, True, False, False, False]


def steered(mine: list[bool], *random: list[bool]) -> pl.DataFrame:
    """Answers to as many prompts: under a mapped vector, under random ones, and unsteered."""
    settings_ = [("none", None, [False] * len(mine)), ("instruction", None, [True] * len(mine))]
    settings_ += [(OWN, None, [True] * len(mine)), (name_mapped("ridge", "broad"), None, mine)]
    settings_ += [(RANDOM, draw, each) for draw, each in enumerate(random)]
    settings_ += [(RANDOM_VECTOR, 0, mine)]
    rows = [
        (name, setting, draw, f"{k}", f"{k}", strict, strict, 0.1)
        for name in (CAPITAL, ITALIAN)
        for setting, draw, each in settings_
        for k, strict in enumerate(each)
    ]
    columns = ["instruction", "setting", "draw", "key", "query", "strict", "sound", "kl"]
    return pl.DataFrame(rows, schema=columns, orient="row", schema_overrides={"draw": pl.Int64})


def test_a_mapped_vector_is_tested_against_each_random_one():
    records = steered([True] * 10, [False] * 10, [True] * 4 + [False] * 6)
    rows = records.filter(pl.col("instruction") == CAPITAL)
    setting = name_mapped("ridge", "broad")
    assert compute_p_values(rows, setting, RANDOM, "strict") == pytest.approx([2 / 2**10, 2 / 2**6])
    worse = steered([False] * 10, [True] * 10).filter(pl.col("instruction") == CAPITAL)
    assert compute_p_values(worse, setting, RANDOM, "strict") == [1.0]
    found = summarise_answers(records)
    assert found[f"mcnemar_p.strict.ridge_broad.{CAPITAL}"] == pytest.approx(2 / 2**6)
    assert found[f"mcnemar_p_holm.sound.ridge_broad.{ITALIAN}"] == pytest.approx(4 / 2**6)
    assert found[f"mcnemar_p_vector.strict.ridge_broad.{CAPITAL}"] == 1.0
    assert found[f"gain.ridge_broad.{CAPITAL}"].value == pytest.approx(0.8)
    assert found[f"strict.random_map.{ITALIAN}"].value == pytest.approx(0.2)
    assert f"kl.none.{CAPITAL}" not in found and f"kl.own_vector.{CAPITAL}" in found


def drawn():
    moves = TransferFigures("burattino-instruct", "burattino-gemma", "ridge", "broad", "last")
    return draw_answers(steered([True] * 9 + [False], [False] * 10), moves)


def test_the_figure_of_answers_says_what_was_found():
    drawing = drawn()
    assert complaints(drawing.figure.to_plotly_json(), drawing.caption) == []
    assert "ridge, broad 90%" in drawing.caption and "p = 0.0039" in drawing.caption
    assert "n = 10 for each" in drawing.caption


def test_where_vectors_are_read_is_said_by_the_operations():
    operations = ("add:1residual", "generated/add:1residual", "last/project")
    assert Steering(operations=operations).reads == ("last", "generated")


# ------------------------------------------------------------------ the analysis
def test_the_analysis_leaves_what_it_says(run):
    given = ["--model", "burattino-small", "--source", "burattino-tiny", "--instruction", CAPITAL]
    given += ["--prompts", "plain", "kin", "--n-map", "24", "--n-fit", "8", "--n-select", "2"]
    given += ["--n-test", "3", "--n-random", "1", "--n-random-steered", "1", "--draws", "10"]
    given += ["--operations", "add:1residual@generated", "--max-new-tokens", "12"]
    found = run("cross_architecture", *given)["cross_architecture"]
    records, quality = found.records(), found.records("quality")
    # Ridge of both kinds of prompts, and the other kinds of maps of the last.
    settings_ = {"none", "instruction", OWN, RANDOM, RANDOM_VECTOR, "ridge, plain", "ridge, kin"}
    assert set(records["setting"]) == settings_ | {"procrustes, kin", "cca, kin"}
    assert quality.group_by("prompts", "kind", "setting").len()["len"].to_list() == [6] * 12
    assert set(found.records("directions")["quantity"]) == {"cosine", "auroc"}
    drawings = {"quality", "cosine", "cosine_by_kind", "auroc", "answers"}
    assert drawings == set(found.captions)
    for key in (
        f"mcnemar_p.sound.ridge_kin.{CAPITAL}",
        f"layer.random_map_0.{CAPITAL}",
        f"cosine.mapped.last.kin.cca.{CAPITAL}",
        "r_squared.random.last.plain.ridge",
    ):
        assert key in found.summary
    target = ist.load("burattino-small")
    for path in found.vectors:
        name = path.stem.removeprefix("vectors.")
        if name.startswith("map."):
            made = ResidualMap.load(path)
            assert (made.source.d_model, made.target.d_model) == (64, 96)
        elif not name.startswith("source."):
            ist.SteeringVector.load(path).check(target)


def test_a_model_is_no_target_of_its_own_vectors(capsys, tmp_path):
    given = ["--model", "burattino-tiny", "--source", "burattino-tiny", "--results", str(tmp_path)]
    assert command_line(["cross_architecture", *given]) != 0
    assert "--source" in capsys.readouterr().err
    whole = all_geometry.Config(model="burattino-small", target="burattino-tiny")
    parts = {
        analysis: configure(analysis, whole, **own)
        for analysis, own in all_geometry.set_own_fields(whole).items()
    }
    moved = parts.pop(cross_architecture)
    assert (moved.source, moved.model) == ("burattino-small", "burattino-tiny")
    assert {getattr(part, "model", "burattino-small") for part in parts.values()} == {whole.model}


def test_widths_that_agree_have_an_identity_too_and_kinds_are_checked(capsys, tiny):
    config = Config()
    assert list_kinds(tiny("llama3"), tiny("gemma2"), config)[-1] == "identity"
    small = ist.load("burattino-small")
    assert "identity" not in list_kinds(tiny("llama3"), small, config)
    assert command_line(["cross_architecture", "--kind", "ridge", "--kinds", "cca"]) == 2
    error = capsys.readouterr().err
    assert "--kind ridge" in error and "--kinds cca" in error
