"""Benchmarks under steering: what is recorded of them, and what is compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

import interp_steer as ist
from analyses.languages import benchmark_runs, language_benchmarks, retention
from analyses.languages.benchmark_runs import (
    Benchmark,
    Setting,
    ask,
    choose_benchmarks,
    comparisons,
)
from analyses.languages.language_benchmarks import Config, rivals_of, table
from interp_steer.errors import ContrastError, OptionError
from interp_steer.harness.world_tasks import questions

SMALL = ["--n-fit", "3", "--shots", "1", "--limit", "2", "--max-new-tokens", "8"]
LIKELIHOOD = Benchmark("ARC", "burattino_arc_it")
GENERATED = Benchmark("ARC asked in English", "burattino_arc_en_it_gen")


@pytest.mark.slow
def test_at_no_strength_the_steered_settings_are_the_original(run):
    given = ["--tasks", LIKELIHOOD.task, GENERATED.task, "--strengths", "0"]
    rival = ["--rivals", "burattino-instruct=burattino-base"]
    results = run("language_benchmarks", *SMALL, *given, *rival)["language_benchmarks"]
    records = results.records()
    assert records is not None
    # The original, a random direction for each of two vectors, and these; two tasks of two
    # questions; and a rival.
    assert records.height == (1 + 2 + 2 + 1) * 2 * 2
    assert set(records.filter(pl.col("setting") == "fine-tuned")["weights"]) == {"burattino-base"}
    assert results.captions.keys() == {"benchmarks_by_log_likelihood", "benchmarks_by_generation"}
    assert len(list(results.path.glob("vectors*.safetensors"))) == 2

    same = ["key", "prompt", "answer", "correct", "in_language", "parses"]
    original = records.filter(pl.col("setting") == "original").select(same)
    for (setting, positive), rows in records.group_by("setting", "positive"):
        if setting != "fine-tuned":
            assert rows.select(same).equals(original), (setting, positive)
    for task in (LIKELIHOOD.task, GENERATED.task):
        name = f"accuracy.burattino-instruct.{task}"
        assert results.summary[f"gain.{name}.steered IT-IT"] == 0
        assert results.summary[f"mcnemar_p_over_random.{name}.steered EN-IT"] == 1
        assert f"mcnemar_p.{name}.fine-tuned" in results.summary
    likely = records.filter(pl.col("how") == "log_likelihood")
    assert likely["in_language"].is_null().all() and likely["parses"].is_null().all()


def test_retention_compares_with_the_original_and_chooses_a_strength(run):
    given = ["--tasks", "burattino_arc_en", "--others", "--strengths", "0", "2"]
    more = ["--n-select", "3", "--n-test", "3", "--rule", "share"]
    results = run("retention", *SMALL, *given, *more, "--max-new-tokens", "24")["retention"]
    records = results.records()
    assert records is not None
    assert set(records["setting"]) == {"original", "random", "steered IT-IT"}
    # No strength speaks no Italian.
    assert set(records["strength"].drop_nulls()) == {2.0}
    assert set(results.captions) == {"english_kept"}
    summary = results.summary
    steered, random = (summary[f"perplexity_ratio.{name}"] for name in ("steered IT-IT", "random"))
    assert steered > 1.2 and steered > random
    ratio = summary["perplexity.steered IT-IT"] / summary["perplexity.original"]
    assert ratio == pytest.approx(steered)
    likely = results.records("likelihoods")
    assert likely is not None and likely.height == 3 * 3


def test_records_say_what_lm_eval_says(burattino_instruct):
    config = Config(limit=6)
    asked = [LIKELIHOOD, GENERATED, Benchmark("HellaSwag", "burattino_hellaswag_it_gen", 0, True)]
    records = ask(burattino_instruct, [Setting("original")], asked, config, 0)
    docs: list[Any] = questions("it")["test"].to_list()
    likely = records.filter(pl.col("asked_for") == LIKELIHOOD.task)
    assert likely["key"].to_list() == [f"{LIKELIHOOD.task}/{n}" for n in range(6)]
    for doc, answer in enumerate(likely["answer"]):
        assert answer.strip() in docs[doc]["choices"]
        assert docs[doc]["question"] in likely["prompt"][doc]
    # Only what is answered in words, and is no text to be continued, is put as a chat.
    chats = records.group_by("asked_for", maintain_order=True).agg(
        pl.col("prompt").str.contains("<|user|>", literal=True).all()
    )
    assert chats["prompt"].to_list() == [False, True, False]
    all_chats = ask(
        burattino_instruct, [Setting("original")], asked[:1], replace(config, template="all"), 0
    )
    assert all_chats["prompt"].str.contains("<|user|>", literal=True).all()


def test_a_vector_may_not_be_fitted_on_what_is_asked(burattino_instruct):
    question = f"Q: {questions('it')['test'][0]['question']}"
    pair = ist.contrast.languages.language_set(
        ist.world.parallel(9), shots=1, fit=1, select=0, test=0
    ).fit[0]
    for text, apart in ((question, True), (question.removeprefix("Q: "), False)):
        known = replace(pair, absent=[{"role": "user", "content": text}])
        pairs = ist.ContrastSet("known", (known,))
        wanted = [Setting("steered IT-IT", pairs=pairs)]
        if apart:
            ask(burattino_instruct, wanted, [LIKELIHOOD], Config(limit=1), 0)
        else:
            with pytest.raises(ContrastError):
                ask(burattino_instruct, wanted, [LIKELIHOOD], Config(limit=1), 0)


def rows(setting: str, outcomes: list[bool], draw: int | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "model": "google/gemma-2-2b-it",
            "weights": "google/gemma-2-2b-it",
            "benchmark": "MMLU",
            "asked_for": "m_mmlu_it",
            "setting": setting,
            "positive": None if setting == "original" else "it-it",
            "draw": draw,
            "key": [str(n) for n in range(len(outcomes))],
            "query": [str(n) for n in range(len(outcomes))],
            "correct": outcomes,
            "in_language": pl.Series([None] * len(outcomes), dtype=pl.Boolean),
            "parses": True,
        },
        schema_overrides={"positive": pl.String, "draw": pl.Int64},
    )


def some_rows() -> pl.DataFrame:
    return pl.concat(
        [
            rows("original", [False] * 8 + [True] * 2),
            rows("random", [False] * 9 + [True], draw=0),
            rows("random", [True] * 10, draw=1),
            rows("steered IT-IT", [True] * 8 + [False, True]),
        ]
    )


def test_comparisons_are_of_the_same_questions_and_the_first_draw():
    found = comparisons(some_rows(), "correct", "accuracy")
    assert found["gain.accuracy.steered IT-IT"].value == pytest.approx(0.7)  # type: ignore[union-attr]
    assert found["gain_over_random.accuracy.steered IT-IT"].value == pytest.approx(0.8)  # type: ignore[union-attr]
    # Eight questions are won and one is lost: 2 * (1 + 9) / 2^9. Eight won: 2 / 2^8.
    assert found["mcnemar_p.accuracy.steered IT-IT"] == pytest.approx(20 / 512)
    assert found["mcnemar_p_over_random.accuracy.steered IT-IT"] == pytest.approx(2 / 256)


def test_published_values_stand_beside_the_same_weights_unsteered(monkeypatch):
    known = {("original", "m_mmlu_it"): 0.56}
    monkeypatch.setattr(language_benchmarks, "reported", lambda *_: known)
    found = table(some_rows())
    beside = found.filter(pl.col("published").is_not_null())
    assert beside.select("setting", "measure", "published").rows() == [
        ("original", "accuracy", 0.56)
    ]
    assert set(found["measure"]) == {"accuracy", "parses"}
    assert ((found["low"] <= found["value"]) & (found["value"] <= found["high"])).all()


def test_which_tasks_are_asked_and_how():
    bundled, hub = language_benchmarks.BUNDLED, language_benchmarks.HUB
    assert choose_benchmarks(Config(), bundled, hub) == list(bundled)
    assert choose_benchmarks(Config(model="google/gemma-2-2b-it"), bundled, hub) == list(hub)
    named = Config(tasks=("burattino_arc_it", "burattino_arc_en"))
    other = Benchmark("burattino_arc_en", "burattino_arc_en")
    assert choose_benchmarks(named, bundled, hub) == [LIKELIHOOD, other]


@pytest.mark.slow  # lm-eval's own tasks take seconds to be read
def test_lm_eval_knows_every_task_and_no_other():
    bundled, hub = language_benchmarks.BUNDLED, language_benchmarks.HUB
    every = {one.task for one in (*bundled, *hub, *retention.BUNDLED, *retention.HUB)}
    manager = benchmark_runs.task_manager([Benchmark(task, task) for task in every])
    assert every <= set(manager.all_tasks)
    with pytest.raises(OptionError, match="no task nonsense"):
        choose_benchmarks(Config(tasks=("nonsense", "arc_it")), bundled, hub)


@pytest.mark.parametrize("rival", ["burattino-base", "gpt2=burattino-base", "burattino-instruct="])
def test_a_rival_is_of_a_model_that_is_asked(rival):
    with pytest.raises(OptionError, match="MODEL=RIVAL"):
        rivals_of(Config(rivals=(rival,)))
    asked = ("a", "b")
    assert rivals_of(Config(models=asked, rivals=("b=c",))) == {"b": "c"}


def test_tasks_whose_data_is_not_here_say_so(burattino_instruct):
    hub = Benchmark("ARC", "arc_it_gen")
    with pytest.raises(OptionError, match="arc_it_gen is not on this machine"):
        ask(burattino_instruct, [Setting("original")], [hub], Config(limit=1), 0)
