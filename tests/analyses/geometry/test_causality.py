"""Which directions cause obedience, asked by interchange interventions."""

from __future__ import annotations

import polars as pl
import pytest

import interp_steer as ist
from analyses.geometry import causality
from analyses.geometry.causality_edits import EDITS, Editor
from analyses.kit.cli import command_line
from analyses.kit.instruction_following import Answering, InstructionFollowing
from interp_steer.models.sites import Site
from tests.support.exchanges import LAYER, llama, pairs  # noqa: F401  fixtures


# ------------------------------------------------------------------ acts
def test_what_is_taken_away_is_gone_and_what_is_set_is_there(llama, pairs):
    """Each act leaves the projection that it says, at the layer that it says."""
    model, vector, sides = llama
    editor = Editor(vector, sides, "all", "all")
    u = vector.at(LAYER).unit.double()
    baseline = float(vector.baseline[LAYER].double() @ u)
    expected = {"zero": 0.0, "mean": baseline, "steer": float(vector.targets[LAYER])}
    for act in editor.at_layer(LAYER):
        if act.name in expected:
            prompts = pairs.present if act.instructed else pairs.absent
            with model.steered(act.steering[0]):
                rows = ist.capture.capture_moments(model, prompts, keep_rows=True).rows
            along = rows.values[Site("resid_post", LAYER)].double() @ u
            assert along.tolist() == pytest.approx([expected[act.name]] * 3, abs=1e-4)
    names = {act.name for act in (*editor.at_layer(LAYER), *editor.at_every_layer(LAYER))}
    assert names == set(EDITS)


def test_random_acts_move_prompts_as_far_as_the_directions(llama, pairs):
    model, vector, sides = llama
    editor = Editor(vector, sides, "all", "all")
    plain = {True: sides[0], False: sides[1]}
    site = Site("resid_post", LAYER)
    found = {}
    for draw in (None, 5):
        for act in editor.at_layer(LAYER, draw):
            if act.name in ("mean", "steer"):
                prompts = pairs.present if act.instructed else pairs.absent
                with model.steered(act.steering[0]):
                    rows = ist.capture.capture_moments(model, prompts, [site], keep_rows=True).rows
                change = (rows.values[site] - plain[act.instructed][site]).double().mean(dim=0)
                found[act.name, draw] = float(change.norm())
    for name in ("mean", "steer"):
        assert found[name, 5] == pytest.approx(found[name, None], rel=1e-3)


def test_obedience_is_what_sweeps_and_scores_say(burattino_instruct, tmp_path):
    pairs = ist.world.instruction("change_case:english_lowercase", fit=0, select=0, test=4)
    asking = Answering(graded_tokens=8, max_new_tokens=48)
    ledger = ist.Ledger(tmp_path / "answers.jsonl")
    found = InstructionFollowing.of(burattino_instruct, pairs, asking, ledger)
    ends = [found.unedited(instructed) for instructed in (True, False)]
    assert found.check_answers(ends) == [found.strict["present"], found.strict["absent"]]
    assert found.obedient and not any(found.strict["absent"])
    told, plain = found.score_answers(ends)
    for place, pair in enumerate(pairs):
        if place in found.obedient:
            answer = found.answer_tokens["present"][place][:8]
            (by_hand,) = ist.logprobs(burattino_instruct, [pair.absent], [answer])
            assert plain[place] == pytest.approx(by_hand.total / len(answer), abs=1e-4)
            assert told[place] > plain[place]
        else:
            assert told[place] is None
    assert max(found.damage([found.unedited(False)])[0]) == pytest.approx(0, abs=1e-6)


# ------------------------------------------------------------------ shares
def records(edited: list[bool], scores: list[float], effect: str = "sufficiency") -> pl.DataFrame:
    """Eight prompts that all obey the text and never else, under one act."""
    n = len(edited)
    columns = {
        "instruction": ["case"] * n, "effect": [effect] * n, "act": ["steer"] * n,
        "layer": [2] * n, "draw": [None] * n, "key": [str(k) for k in range(n)],
        "query": [str(k) for k in range(n)], "strict": edited, "strict_told": [True] * n,
        "strict_plain": [False] * n, "logprob": scores, "logprob_told": [-0.5] * n,
        "logprob_plain": [-2.5] * n, "kl": [None] * n,
    }  # fmt: skip
    return pl.DataFrame(columns, schema_overrides=causality.SCHEMA)


@pytest.mark.parametrize("effect", ["necessity", "sufficiency"])
@pytest.mark.parametrize("obeying", [0, 2, 8])
def test_shares_are_those_of_the_texts_effect(effect, obeying):
    edited = [k < obeying for k in range(8)]
    frame = records(edited, [-0.5 if told else -2.5 for told in edited], effect)
    shares = causality.compute_shares(frame, seed=0)
    expected = obeying / 8 if effect == "sufficiency" else 1 - obeying / 8
    assert shares["value"].to_list() == pytest.approx([expected] * 2)
    assert (shares["low"] <= shares["value"]).all() and (shares["value"] <= shares["high"]).all()


def test_no_share_is_made_of_an_instruction_that_does_nothing():
    frame = records([False] * 8, [-2.5] * 8).with_columns(
        pl.lit(False).alias("strict_told"), pl.lit(-2.5).alias("logprob_told")
    )
    assert causality.compute_shares(frame, seed=0).is_empty()


# ------------------------------------------------------------------ the analysis
def test_the_analysis_leaves_what_it_says(run):
    given = ["--instruction", "change_case:english_lowercase", "--n-fit", "8", "--n-test", "3"]
    given += ["--n-select", "2", "--n-random", "1", "--layers", "1", "3", "--max-new-tokens", "40"]
    given += ["--model", "burattino-tiny", "--graded-tokens", "8"]
    results = run("causality", *given)["causality"]
    found = results.records()
    # At each layer nine acts, and five along a random direction; four at every layer at once.
    assert found.height == 3 * (2 * (9 + 5) + 4 + 4)
    steered = found.filter(pl.col("draw").is_null() & (pl.col("act") == "steer"))
    assert steered["strict"].is_not_null().all() and found["logprob"].is_not_null().any()
    assert {"effects_obedience", "effects_log-probability", "sufficiency_log-probability"} <= set(
        results.captions
    )
    name = "change_case:english_lowercase"
    summary = results.summary
    assert summary[f"necessity.layer.{name}"] in (1, 3)
    for key in (
        f"necessity.strict.zero.every.vector.{name}",
        f"sufficiency.logprob.steer.layer.random.{name}",
        f"kl.sufficiency.steer.layer.vector.{name}",
    ):
        assert summary[f"{key}.low"] <= summary[key] <= summary[f"{key}.high"]
    assert 0 <= summary[f"mcnemar_p.necessity.zero.every.{name}"] <= 1


def test_a_model_that_obeys_nothing_is_told_so(checkpoint, tmp_path, capsys):
    given = ["--model", str(checkpoint("llama3")), "--n-fit", "4", "--n-test", "2"]
    given += ["--instruction", "detectable_format:title", "--n-select", "2"]
    given += ["--max-new-tokens", "8", "--results", str(tmp_path)]
    assert command_line(["causality", *given]) == 2
    assert "detectable_format:title" in capsys.readouterr().err
