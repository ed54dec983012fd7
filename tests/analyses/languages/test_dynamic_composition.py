"""Properties and languages put together, and languages switched while an answer is given."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import interp_steer as ist
from analyses.kit.cli import command_line
from analyses.languages import (
    dynamic_composition,
    dynamic_composition_properties,
    language_switching,
)
from analyses.languages.language_switching import compare_vectors
from analyses.languages.language_switching_steps import Steerer, languages_by_step, word_shares
from analyses.languages.resampled_vectors import Examples
from interp_steer.contrast.pair import Pair
from interp_steer.errors import OptionError
from interp_steer.interventions.schedules import diminishing, exponential, fixed, start

SIZES = ["--n-fit", "4", "--n-select", "2", "--n-test", "3", "--shots", "0"]
SIZES += ["--max-new-tokens", "12", "--n-steps", "12"]


@pytest.mark.slow
def test_a_language_and_a_format_are_put_together(run):
    given = ["--properties", "startend:quotation", "--schedules", "start", "dynamic(0.5)"]
    given += ["--strengths", "1.0", "2.0", "--dynamic-strengths", "0.5", *SIZES]
    results = run("dynamic_composition", *given)["dynamic_composition"]
    records = results.records()
    assert records is not None
    # Three questions; each of two alone and both; none, words, two schedules and their controls.
    assert records.height == 3 * 3 * (2 + 2 * 2)
    assert records["properties"].unique(maintain_order=True).to_list() == [
        "Italian",
        "quotation",
        "Italian + quotation",
    ]
    both = records.filter(pl.col("properties") == "Italian + quotation")
    assert both["all"].equals((both["Italian"] & both["quotation"]).alias("all"))
    assert not (both["sound"] & ~both["all"]).any()
    steered = both.filter(pl.col("setting") == "steered")
    for line in steered["applied"]:
        assert line.count("shift(en-en to it-it@z.0-7,") == line.count("shift(quotation@z.0-7") == 1
    random = both.filter(pl.col("setting") == "random")["applied"]
    assert all(line.count("shift(random-0(") == 2 for line in random)
    assert (records.filter(pl.col("setting") == "steered")["kl"] > 0).all()
    assert (records.filter(pl.col("setting") == "none")["kl"] == 0).all()
    for name in ("Italian", "quotation"):
        assert results.summary[f"strength.{name}.start"] in (1.0, 2.0)
        assert results.summary[f"strength.{name}.dynamic(0.5)"] == 0.5
        assert f"sound.{name}.start.low" in results.summary
    assert "mcnemar_p.Italian + quotation.start and dynamic(0.5)" in results.summary
    assert len(list(results.path.glob("vectors*.safetensors"))) == 2
    assert {"sound_by_strength", "sound_by_schedule", "interference_start"} < set(results.captions)
    assert {"strength_by_step.quotation", "surprise_by_step.quotation"} < set(results.captions)

    moves = results.records("properties_by_step")
    assert moves is not None
    of_start = moves.filter(pl.col("schedule") == "start")
    assert (of_start.filter(pl.col("step") > 0)["strength"] == 0).all()
    for name in ("Italian", "quotation"):
        first = of_start.filter((pl.col("step") == 0) & (pl.col("property") == name))["strength"]
        assert set(first) == {results.summary[f"strength.{name}.start"]}
    dynamic = moves.filter(pl.col("schedule") == "dynamic(0.5)")
    # Each property follows a probe of its own: 0.5 times a divergence that is cut at 2.
    expected = 0.5 * dynamic["probe_kl"].clip(0, 2)
    assert (dynamic["strength"] - expected).abs().max() < 1e-5  # pyright: ignore
    wide = dynamic.pivot(on="property", index=["key", "step"], values="strength")
    assert (wide["Italian"] != wide["quotation"]).any()


def test_what_properties_are_fitted_on_is_not_asked():
    config = dynamic_composition.Config(n_fit=10, n_select=20, n_test=40)
    pairs = dynamic_composition.base.language_set(
        config, dynamic_composition.base.read_items(config, 0), 0
    )
    asked = {pair.query for pair in pairs if pair.split != "fit"}
    found = dynamic_composition_properties.draw_separate_pairs("startend:quotation", pairs, 10, 0)
    assert len(found) == 10 and not asked & set(found.queries)
    with pytest.raises(OptionError, match="smaller --n-fit"):
        dynamic_composition_properties.draw_separate_pairs("startend:quotation", pairs, 1000, 0)


@pytest.mark.parametrize(
    ("known", "text", "expected"),
    [
        ("change_case:english_capital", "LA LOCANDA È ANTICA.", True),
        ("change_case:english_capital", "LA LOCANDA è ANTICA.", False),
        ("change_case:english_lowercase", "la locanda è antica.", True),
        ("change_case:english_lowercase", "La locanda è antica.", False),
        ("change_case:english_lowercase", "", False),
        ("detectable_format:json_format", '{"nome": "locanda"}', True),
        ("detectable_format:json_format", '{"nome": "locanda', False),
    ],
)
def test_a_case_is_that_of_the_letters_in_any_language(known, text, expected):
    ids = ("language:response_language", known)
    pair = Pair("a", "b", "a", instruction_ids=ids, kwargs=({"language": "it"}, {}))
    said = ist.Completion(text, (1,), "stop", "a", "unsteered")
    assert dynamic_composition_properties.check_properties(pair, said) == {known: expected}


def test_the_strength_with_most_sound_answers_is_chosen_and_of_several_the_least():
    rows = [
        {"setting": setting, "properties": p, "schedule": s, "strength": c, "sound": sound}
        for setting, p, s, c, sounds in [
            ("none", "a", None, None, (True, True)),
            ("steered", "a", "start", 2.0, (True, True)),
            ("steered", "a", "start", 1.0, (True, True)),
            ("steered", "a", "start", 0.5, (True, False)),
            ("steered", "a", "fixed", 0.5, (False, False)),
            ("steered", "b", "start", 0.5, (True, True)),
        ]
        for sound in sounds
    ]
    assert dynamic_composition.choose_strengths(pl.DataFrame(rows)) == {
        ("a", "start"): 1.0,
        ("a", "fixed"): 0.5,
        ("b", "start"): 0.5,
    }


def test_languages_are_compared_summed_and_switched(run):
    given = ["--others", "fr-fr", "--strengths", "1.5", "--switches", "it-fr", "en-it"]
    results = run("language_switching", *given, "--switch-at", "6", "--resamples", "20", *SIZES)[
        "language_switching"
    ]
    records, steps = results.records(), results.records("steps")
    assert records is not None and steps is not None
    # Asked in English: none, words; three of each language; both, their mean, three mixtures, two
    # switches. Asked in French: four; in Italian: two.
    assert records.height == 3 * (2 + 2 * 3 + 1 + 1 + 3 + 2 + 4 + 2)
    assert len(list(results.path.glob("vectors*.safetensors"))) == 2
    assert -1 <= results.summary["cosine.it.fr.low"] <= results.summary["cosine.it.fr"] <= 1
    drawn = {"language_cosines", "interference", "strength_text"}
    assert drawn | {"switching_it-fr", "switching_en-it"} == set(results.captions)

    for switch, before, after in (("it-fr", "it", "fr"), ("en-it", None, "it")):
        mine = steps.filter(pl.col("switch") == switch)
        switched = mine.filter(pl.col("switched_at") == 6)
        plain = mine.filter(pl.col("switched_at").is_null())
        early = pl.col("step") < 6
        # Up to the switch the answers are the same, token by token.
        columns = ["key", "step", "token", "strength", "steered_to"]
        assert switched.filter(early).select(columns).equals(plain.filter(early).select(columns))
        late = switched.filter(~early)
        assert not late["token"].equals(plain.filter(~early)["token"])
        assert set(switched.filter(early)["steered_to"]) == {before}
        assert set(late["steered_to"]) == {after}
        # The schedule begins anew.
        first = late.filter(pl.col("step") == 6)["strength"]
        assert set(first) == {results.summary[f"strength.{after}"]}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--schedule", "dynamic(0.5)"], "exponential(r)"),
        (["--switches", "it-pt"], "switch 'it-pt'"),
        (["--switches", "it-it"], "switch 'it-it'"),
        (["--others", "--switches", "en-it"], "--positive and --others"),
    ],
)
def test_switches_that_make_no_sense_are_refused(wrong, said, capsys, tmp_path):
    assert command_line(["language_switching", *wrong, "--results", str(tmp_path)]) != 0
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def steerer(tiny) -> Steerer:
    """Two vectors of a tiny model."""
    queries = ["One.", "Two.", "Three.", "Four."]
    vectors = {
        code: ist.fit_steps(
            tiny("llama3"),
            ist.contrast.build(code, queries, said, fit=4, select=0, test=0),
            n_steps=8,
        )
        for code, said in (("it", ["In Italian."]), ("fr", ["In French, please."]))
    }
    return Steerer(vectors, {"it": 1.5, "fr": 2.0}, diminishing(5))


@settings(max_examples=20, deadline=None)
@given(
    at=st.integers(1, 12),
    schedule=st.sampled_from([start, fixed, diminishing(5), exponential(0.5)]),
)
def test_a_switch_is_the_first_schedule_up_to_it_and_the_second_from_it(steerer, at, schedule):
    one = Steerer(steerer.vectors, steerer.strengths, schedule)
    weights = {}
    for edit in one.switch("it", "fr", at).edits:
        assert edit.value == steerer.strengths[edit.direction.name]
        assert edit.positions == f"first({steerer.vectors[edit.direction.name].n_steps})"
        weights[edit.direction.name] = edit.affine().weights

    def at_step(known: tuple[float, ...], step: int) -> float:
        return known[min(step, len(known) - 1)]

    for step in range(20):
        own = schedule.weights
        assert at_step(weights["it"], step) == (at_step(own, step) if step < at else 0)
        assert at_step(weights["fr"], step) == (at_step(own, step - at) if step >= at else 0)


def test_a_language_without_a_vector_is_not_steered_to(steerer):
    assert steerer.to("en") == ist.unsteered
    names = {edit.direction.name for edit in steerer.switch("en", "fr", 3).edits}
    assert names == {"fr"}
    doubled = steerer.to("it", 2.0).edits[0]
    assert doubled.value == 2 * steerer.to("it").edits[0].value


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_vectors_are_as_alike_as_their_examples(seed):
    generator = torch.Generator().manual_seed(seed)
    present, other = (torch.randn(6, 3, 4, generator=generator) for _ in range(2))
    runs = torch.ones(6, 3)
    absent = torch.zeros_like(present)
    examples = {
        "it": Examples(present, absent, runs, runs),
        "fr": Examples(2 * present, absent, runs, runs),
        "es": Examples(-present, absent, runs, runs),
        "de": Examples(other, absent, runs, runs),
    }
    frame, numbers = compare_vectors(examples, 20, seed)
    of = {(a, b): three for a, b, *three in frame.iter_rows()}
    assert of["it", "fr"] == pytest.approx([1, 1, 1])
    assert of["it", "es"] == pytest.approx([-1, -1, -1])
    low, high = of["it", "de"][1:]
    assert -1 <= low <= of["it", "de"][0] <= high <= 1
    _, same = compare_vectors(dict.fromkeys(("it", "fr"), examples["it"]), 20, seed)
    assert same["shared"].value == pytest.approx(1)  # type: ignore[attr-defined]
    _, opposite = compare_vectors({code: examples[code] for code in ("it", "es")}, 20, seed)
    assert opposite["shared"].value == pytest.approx(0, abs=1e-9)  # type: ignore[attr-defined]
    assert 0 < numbers["shared"].value < 1  # type: ignore[attr-defined]


def test_a_word_is_in_the_language_of_the_words_around_it(burattino_instruct):
    text = "The inn is very old and everybody knows it. La locanda è molto antica e tutti lo sanno."
    tokens = burattino_instruct.tokenizer(text, add_special_tokens=False)["input_ids"]
    found = languages_by_step(burattino_instruct, tokens, 5, ["en", "it", "fr"])
    assert len(found) == len(tokens)
    changes = [b for a, b in pairwise(found) if a != b and b is not None]
    assert found[0] == "en" and found[-1] == "it" and changes == ["it"]
    assert languages_by_step(burattino_instruct, [], 5, ["en", "it"]) == []


def test_shares_of_words_are_those_of_the_answers_that_still_run():
    rows = [
        {"switch": "en-it", "switched_at": 1, "step": step, "language": said}
        for step, each in enumerate([["en"] * 4, ["en", "it", "it", None], ["it", "it"]])
        for said in each
    ]
    found = word_shares(pl.DataFrame(rows))
    shares = {(step, code): value for step, code, value, *_ in found.iter_rows()}
    assert shares == {(0, "en"): 1, (0, "it"): 0, (1, "en"): 0.25, (1, "it"): 0.5}
    assert (found["low"] <= found["share"]).all() and (found["share"] <= found["high"]).all()


def test_both_are_found_and_documented():
    for module in (dynamic_composition, language_switching):
        assert module.__doc__ and len(module.__doc__.splitlines()[0]) < 100
        assert module.Config().model == "burattino-instruct"
