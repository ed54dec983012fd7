"""What language steering does to texts and questions, on a tiny grid; and how answers are read."""

from __future__ import annotations

import polars as pl
import pytest

from analyses.kit.cli import command_line
from analyses.languages import creative_tasks
from analyses.languages.base import read_items
from analyses.languages.creative_tasks import (
    QUESTIONS,
    Config,
    is_right,
    prompts_of,
    task_items,
)
from analyses.languages.creative_tasks_overlap import distinct, repeats
from interp_steer.world import grammar
from interp_steer.world.judge import WorldJudge

TINY = [
    "--n-fit", "4", "--n-select", "2", "--n-test", "2", "--shots", "1", "--max-new-tokens", "20",
]  # fmt: skip


def test_texts_and_questions_in_every_setting(run):
    tasks = ["letter", "choice"]
    given = [*TINY, "--strengths", "1.5", "--tasks", *tasks]
    results = run("creative_tasks", *given)["creative_tasks"]
    records = results.records()
    counted = dict(records.group_by("setting").len().iter_rows())
    assert counted == dict.fromkeys(("none", "instruction", "steered", "random", "asked"), 4)
    assert records["task"].unique(maintain_order=True).to_list() == tasks
    # A letter is an answer without a word, and so in no language.
    bare = records.filter(pl.col("answer").str.len_chars() == 1)
    assert len(bare) and bare["in_language"].is_null().all()
    texts = records.filter(pl.col("task") == "letter")
    assert texts["right"].to_list() == texts["kept"].to_list()
    broken = records["degenerate"] | records["garbled"]
    assert (records["sound"] == ~broken).all()
    assert records.filter(setting="asked")["garbled"].any() is False
    assert records.filter(task="choice")["quality"].is_null().all()
    assert texts["quality"].is_between(0, 1).all()
    # Steering acts, and the control is as long at every head without being the same.
    lines = dict(records.select("setting", "applied").unique().iter_rows())
    assert "random-0" in lines["random"] and "schedule=diminishing(30)" in lines["steered"]
    assert lines["none"] == lines["asked"] == "unsteered"
    assert {"texts", "questions", "sound", "alike"} == {one.stem for one in drawn(results)}
    assert results.summary["strength"] == 1.5
    assert "in_language.steered.texts" in results.summary


def drawn(results):
    return list((results.path / "figures").glob("*.html"))


@pytest.mark.parametrize("name", [*QUESTIONS, "letter"])
def test_what_a_task_asks(name):
    """The same in every language, apart from what a vector is fitted with."""
    config = Config(n_test=5, shots=2)
    own, left = (items := read_items(config, 0))[:100], items[100:]
    asked = task_items(name, config, left, 0)
    prompts = prompts_of(asked, config, 0)
    assert len(prompts.test) == 5
    seen = {item.question("en") for item in own}
    for pair in prompts:
        [*shown, last] = pair.present
        assert pair.absent == pair.query not in seen and last["role"] == "user"
        users = [turn["content"] for turn in shown if turn["role"] == "user"]
        assert len(users) == 2 and pair.query not in users
    for item in asked[:5]:
        if name in QUESTIONS:
            # The reference answer is right in every language, and no other yes, no or letter is.
            assert all(is_right(name, item, answer) for answer in item.answers.values())
        if name == "yes_no":
            right = item.answer("en").startswith("Yes")
            assert is_right(name, item, "No.") is not is_right(name, item, "Yes.") is right
        if name == "choice":
            letters = [is_right(name, item, f" {letter}. ") for letter in "ABCD"]
            assert sum(letters) == 1 and not is_right(name, item, "I do not know.")
        if name == "letter":
            assert WorldJudge().questions(item.question("en"))
            assert item.key.partition("/")[0] in grammar.default_world().entities
        else:
            assert not is_right(name, item, "Hm.")


def test_how_alike_answers_are():
    same = ["the cat sat down here", "the cat sat down there", "a dog, a dog"]
    assert repeats(same) == [0.5, 0.5, 0.0]
    assert repeats(["one two"]) == [None]
    one = distinct(same, 1)
    assert one is not None and one.value == pytest.approx(8 / 14) and one.low < one.value < one.high
    assert distinct(["a b", "c d"], 2).value == 1.0  # type: ignore[union-attr]
    assert distinct(["a"], 1) is None and distinct(["a", "b"], 2) is None
    assert distinct(["x y"] * 4, 2).value == 0.25  # type: ignore[union-attr]


def test_tasks_that_are_unknown(capsys, tmp_path):
    with pytest.raises(Exception, match=r"tasks poem; give some of tell"):
        creative_tasks.names_of(Config(tasks=("letter", "poem")))
    with pytest.raises(Exception, match="tell"):
        creative_tasks.names_of(Config(tasks=()))
    assert command_line(["creative_tasks", "--tasks", "poem", "--results", str(tmp_path)]) == 2
    assert "poem" in capsys.readouterr().err
