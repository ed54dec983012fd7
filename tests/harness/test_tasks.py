"""The tasks for lm-evaluation-harness: documents, what is read from answers, and whole runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from datasets import Dataset
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from interp_steer.harness import TASKS, SteeredLM, italian_tasks
from interp_steer.harness.answers import Chosen, choose_by_letter, choose_by_words, measure_answer
from interp_steer.harness.world_tasks import continuations, questions
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.world.facts import Fact, default_world
from tests.support.vectors import vector_of

KINDS = ("mmlu", "arc", "hellaswag")


@pytest.fixture(scope="module")
def tasks() -> TaskManager:
    return TaskManager(include_path=str(TASKS), include_defaults=False)


def evaluated(lm: SteeredLM, names: list[Any], tasks: TaskManager, **options: Any) -> Any:
    return lm_eval.simple_evaluate(
        model=lm, tasks=names, task_manager=tasks, bootstrap_iters=0, limit=8, **options
    )


# ---------------------------------------------------------------------- documents
@pytest.mark.parametrize("make", [questions, continuations])
@pytest.mark.parametrize("language", ["en", "it"])
def test_documents_ask_for_one_fact_and_shots_are_of_other_entities(make, language) -> None:
    made = make(language)
    assert len(made["test"]) == 200
    for doc in made["test"]:
        assert len(doc["choices"]) == len(set(doc["choices"])) == 4
        assert 0 <= doc["gold"] < 4
        for one, other in combinations(doc["words"], 2):
            assert not set(one) & set(other)
        right = doc["choices"][doc["gold"]]
        if "begun" in doc:
            assert all(choice.startswith(doc["begun"].strip()) for choice in doc["choices"])
            assert doc["begun"].strip() + (" " if doc["begun"] else "") + doc["rest"] == right
    assert not set(made["train"]["subject"]) & set(made["test"]["subject"])


def test_documents_are_the_same_facts_in_every_language_and_every_time() -> None:
    english, italian, mixed = questions("en"), questions("it"), questions("en", answers="it")
    assert english["test"].to_list() == questions("en")["test"].to_list()
    assert english["test"].to_list() != questions("en", seed=1)["test"].to_list()
    assert list(english["test"]["gold"]) == list(italian["test"]["gold"])
    assert list(mixed["test"]["question"]) == list(english["test"]["question"])
    assert {doc["choices"][doc["gold"]] for doc in mixed["test"]} & {
        doc["choices"][doc["gold"]] for doc in italian["test"]
    }


@pytest.mark.parametrize("make", [questions, continuations])
def test_one_option_is_true(make) -> None:
    facts = set(default_world().facts)
    for doc in make("it")["test"]:
        true = [Fact(doc["subject"], doc["relation"], value) in facts for value in doc["values"]]
        assert true == [number == doc["gold"] for number in range(4)]


# ---------------------------------------------------------------------- answers
@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("B", 1),
        (" C. il lupo", 2),
        ("(D)", 3),
        ("**A**", 0),
        ("B\nD è sbagliata", 1),
        ("La risposta corretta è la B.", 1),
        ("Risposta: c)", 2),
        ("The answer is (A), not B.", 0),
        ("L'opzione giusta è D: il vento", 3),
        ("Penso che sia il lupo (C)", 2),
        ("A volte piove.", None),
        ("E poi il lupo", None),
        ("il lupo", None),
        ("Forse (A), forse (B)", None),
        ("", None),
        ("F", None),
    ],
)
def test_letters_of_answers(text: str, option: int | None) -> None:
    assert choose_by_letter(text, 4) == option


def test_a_letter_beyond_the_options_is_none() -> None:
    assert choose_by_letter("E", 5) == 4
    assert choose_by_letter("E", 4) is None


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("La volpe è rossa.", 0),
        ("È ROSSO!", 0),
        ("verde", 1),
        ("né rosso né verde", None),
        ("arrossato", None),
        ("di un verde acqua", 2),
        ("", None),
    ],
)
def test_words_of_answers(text: str, option: int | None) -> None:
    assert choose_by_words(text, [["rosso", "rossa"], ["verde"], ["verde acqua"]]) == option


@pytest.mark.parametrize("language", ["en", "it"])
def test_a_sentence_that_tells_an_option_chooses_it(language: str) -> None:
    chosen = [
        choose_by_words(doc["choices"][number], doc["words"]) == number
        for doc in questions(language)["test"]
        for number in range(4)
    ]
    assert sum(chosen) / len(chosen) > 0.97  # a few options are the subject's own word


def test_what_is_measured_of_answers() -> None:
    doc = {"gold": 1}
    assert measure_answer(doc, Chosen(1, "B. il lupo"), "it") == {"acc": 1.0, "parses": 1.0}
    italian = "La risposta è il lupo che vive nel bosco."
    assert measure_answer(doc, Chosen(0, italian), "it") == {
        "acc": 0.0,
        "parses": 1.0,
        "in_language": 1.0,
    }
    assert measure_answer(doc, Chosen(None, italian), "en") == {
        "acc": 0.0,
        "parses": 0.0,
        "in_language": 0.0,
    }


# ---------------------------------------------------------------------- whole runs
def test_every_task_of_the_world_runs_and_knowledge_shows(
    burattino_base: HookedLM, tasks: TaskManager
) -> None:
    names = [
        f"burattino_{kind}_{language}{way}"
        for kind in KINDS
        for language in ("en", "it")
        for way in ("", "_gen")
    ] + ["burattino_arc_en_it", "burattino_arc_en_it_gen"]
    assert set(names) <= set(tasks.all_subtasks)
    found = evaluated(SteeredLM(burattino_base), names, tasks)["results"]
    for name in names:
        numbers = {key.split(",")[0]: value for key, value in found[name].items() if "," in key}
        wanted = {"acc", "parses"} if name.endswith("_gen") else {"acc", "acc_norm"}
        assert wanted <= numbers.keys()
        assert all(0 <= numbers[metric] <= 1 for metric in wanted)
    for name in ("burattino_arc_en", "burattino_hellaswag_en", "burattino_mmlu_en"):
        assert found[name]["acc,none"] >= 0.5
    assert found["burattino_hellaswag_en_gen"]["acc,words"] >= 0.5
    assert found["burattino_arc_en_gen"]["in_language,words"] >= 0.5
    assert found["burattino_arc_en_it_gen"]["in_language,words"] <= 0.25


def test_steering_reaches_the_results_and_few_shots_the_prompt(
    burattino_base: HookedLM, tasks: TaskManager
) -> None:
    vector = vector_of(burattino_base)
    steered = SteeredLM(burattino_base, vector.at(2).add(60.0, "generated"))
    plain = SteeredLM(burattino_base)
    names = ["burattino_arc_en"]
    found = [evaluated(lm, names, tasks, num_fewshot=2) for lm in (plain, steered)]
    asked = [one["samples"]["burattino_arc_en"] for one in found]
    shown = asked[0][0]["arguments"][0][0]
    assert shown.count("Q: ") == 3 and shown.endswith("\nA:")
    for before, after in zip(*asked, strict=True):
        assert before["arguments"] == after["arguments"]
        assert before["resps"] != after["resps"]
    assert found[0]["config"]["steering"] == "unsteered"
    assert found[1]["config"]["steering"] == steered.applied


def test_tasks_run_under_a_chat_template(burattino_instruct: HookedLM, tasks: TaskManager) -> None:
    found = evaluated(
        SteeredLM(burattino_instruct),
        ["burattino_arc_en_gen", "burattino_mmlu_en_gen"],
        tasks,
        apply_chat_template=True,
    )
    (sample, *_) = found["samples"]["burattino_arc_en_gen"]
    assert sample["arguments"][0][0] == burattino_instruct.render(
        f"Q: {sample['doc']['question']}\nA:"
    )
    assert found["results"]["burattino_arc_en_gen"]["in_language,words"] >= 0.5
    assert found["results"]["burattino_mmlu_en_gen"]["parses,letter"] == 1


# Rows as the hub's data sets have them.
EXAM = {
    "id": "1",
    "instruction": " Chi ha scritto Pinocchio?[1] ",
    **{f"option_{letter}": f"autore {letter}" for letter in "abcd"},
    "option_e": None,
    "answer": "C",
}
STORY = {
    "activity_label": "Cucinare",
    "ctx_a": "Il cuoco prende la farina.",
    "ctx_b": "poi",
    "endings": ["la impasta.", "vola via.", "dorme.", "canta."],
    "label": "0",
}


def test_italian_benchmarks_are_asked_with_letters() -> None:
    (doc,) = italian_tasks.mmlu(Dataset.from_list([EXAM]))
    assert doc["query"] == (
        "Domanda: Chi ha scritto Pinocchio?\nA. autore a\nB. autore b\nC. autore c\nD. autore d\n"
        "Risposta:"
    )
    assert (doc["gold"], doc["letter"], len(doc["choices"])) == (2, "C", 4)
    (five,) = italian_tasks.arc(Dataset.from_list([{**EXAM, "option_e": "altri", "answer": "E"}]))
    assert (five["gold"], len(five["choices"])) == (4, 5)
    (doc,) = italian_tasks.hellaswag(Dataset.from_list([STORY]))
    assert doc["query"].startswith(
        "Testo: Cucinare: Il cuoco prende la farina. Poi\nA. la impasta."
    )
    assert doc["gold"] == 0


@pytest.mark.parametrize(
    ("task", "row"),
    [("m_mmlu_it_gen", EXAM), ("arc_it_gen", EXAM), ("hellaswag_it_gen", STORY)],
)
def test_italian_benchmarks_run_on_rows_of_their_kind(
    burattino_base: HookedLM, tasks: TaskManager, tmp_path: Path, task: str, row: dict[str, Any]
) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text("\n".join(json.dumps(row) for _ in range(3)), encoding="utf-8")
    splits = dict.fromkeys(("train", "validation", "val", "test"), str(rows))
    there = {
        **load_yaml(TASKS / "italian" / f"{task}.yaml"),
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": splits, "cache_dir": str(tmp_path / "cache")},
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 16},
    }
    found = evaluated(SteeredLM(burattino_base), [there], tasks)["results"][task]
    assert {"acc,letter", "parses,letter"} <= found.keys()


@pytest.mark.slow
def test_the_command_line_evaluates_a_steered_model(
    burattino_base: HookedLM, tmp_path: Path
) -> None:
    vector = vector_of(burattino_base)
    vector.save(tmp_path / "vector.safetensors")
    steering = f"vector={tmp_path}/vector.safetensors,layer=2,operation=add,coefficient=6"
    (tmp_path / "tasks").mkdir()
    own = f"include: {TASKS}/burattino/hellaswag_it.yaml\ntask: a_task_of_my_own\n"
    (tmp_path / "tasks" / "own.yaml").write_text(own, encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "interp_steer.harness", "--model", "interp_steer"),
            *("--tasks", "burattino_arc_en", "a_task_of_my_own"),
            *("--include_path", str(tmp_path / "tasks")),
            *("--model_args", f"pretrained=burattino-base,{steering}"),
            *("--limit", "4", "--batch_size", "auto", "--output_path", str(tmp_path / "out")),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(written.read_text(encoding="utf-8"))
    assert results["config"]["steering"] == str(vector.at(2).add(6.0, "generated"))
    assert results["results"].keys() == {"burattino_arc_en", "a_task_of_my_own"}
    assert results["n-samples"]["burattino_arc_en"] == {"original": 200, "effective": 4}
