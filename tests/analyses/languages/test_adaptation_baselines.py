"""Adaptations of a model: what they learn, what they leave alone, what they are said to cost."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
import torch

import interp_steer as ist
from analyses.languages.adaptation_costs import Count, count_work
from analyses.languages.adaptation_methods import Learning, Task, score_answers, steering_vector
from analyses.languages.adaptation_models import (
    Prefixed,
    Prompted,
    answers_of,
    chat_turn,
    worked_examples,
)
from analyses.languages.adaptation_training import Training, lora, mean_loss, prefix_tuning
from figures import FigureError
from figures.languages.adaptation_costs import adaptation_shares, benefit_against_cost
from interp_steer.errors import ContrastError, OptionError
from interp_steer.models.self_check import check_both_paths
from interp_steer.vectors.stepped_vector import SteppedVector
from interp_steer.world.translations import parallel

pytest.importorskip("peft")

QUICK = Training(rate=3e-3, epochs=3, patience=3, batch_size=4)


def examples(n: int) -> list[tuple[str, str]]:
    return [(item.question("en"), item.answer("it")) for item in parallel(n, split="train")]


def copied(name: str = "burattino-instruct") -> ist.HookedLM:
    return ist.load(name, device="cpu", check=False)


def logits(model: ist.HookedLM) -> torch.Tensor:
    batch = model.pad(model.tokenize([question for question, _ in examples(3)]))
    with torch.inference_mode():
        return model.plain(input_ids=batch.tokens, attention_mask=batch.attention_mask).logits


@pytest.fixture(scope="module")
def untouched(burattino_instruct):
    """The logits of the original model before anything was trained."""
    return logits(burattino_instruct)


@pytest.fixture(scope="module")
def merged(untouched):
    return lora(copied(), examples(8), examples(10)[8:], QUICK)


@pytest.fixture(scope="module")
def prefixed(untouched):
    return prefix_tuning(copied(), examples(8), examples(10)[8:], replace(QUICK, rate=0.05))


@pytest.mark.parametrize("which", ["merged", "prefixed"])
def test_training_lowers_the_loss_and_leaves_the_original_alone(
    which, request, burattino_instruct, untouched
):
    adapted, trained = request.getfixturevalue(which)
    net = adapted.net if isinstance(adapted, Prefixed) else adapted.model.plain
    before = mean_loss(burattino_instruct.plain, burattino_instruct, examples(8))
    assert mean_loss(net, adapted.model, examples(8)) < before - 0.05
    assert trained.fit_losses[-1] < trained.fit_losses[0]
    assert trained.loss == min(trained.select_losses)
    # The weights that are left are those of the best epoch.
    assert mean_loss(net, adapted.model, examples(10)[8:]) == pytest.approx(trained.loss, abs=1e-4)
    assert torch.equal(logits(burattino_instruct), untouched)


def test_a_merged_lora_is_a_model_like_any_other(merged, untouched):
    model = merged[0].model
    check_both_paths(model)  # its bridge and its twin have the same new weights
    assert not torch.equal(logits(model), untouched)
    assert not any("lora" in name for name, _ in model.plain.named_modules())
    # rank 8 beside every linear layer: q, k, v, o of width 160, and three of 160 by 448
    assert merged[0].stored == 8 * 8 * (4 * 320 + 3 * 608)


@pytest.mark.parametrize("train", [lora, prefix_tuning])
def test_one_seed_trains_one_adapter(train):
    short = replace(QUICK, epochs=1)
    texts = [question for question, _ in examples(2)]
    answers = [answer for _, answer in examples(2)]

    def scores(training: Training) -> list[float]:
        adapted, _ = train(copied(), examples(4), examples(2), training)
        return adapted.logprobs(texts, answers)

    assert scores(short) == scores(short)
    assert scores(short) != scores(replace(short, seed=1))


@pytest.mark.parametrize(
    "name", ["burattino-instruct", pytest.param("burattino-gemma", marks=pytest.mark.slow)]
)
def test_batched_equals_single_for_every_kind_of_adaptation(name):
    model = copied(name)
    few = worked_examples(examples(1))
    kinds = [
        Prompted("original", model),
        Prompted("system", model, before=(chat_turn("system", "Answer in Italian."),)),
        Prompted("few-shot", model, before=few),
        Prompted("steered", model, small_vector(model).shift(1.5, ist.schedules.diminishing(8))),
        prefix_tuning(copied(name), examples(4), examples(2), replace(QUICK, epochs=1))[0],
    ]
    prompts = [item.question("en") for item in parallel(4)]
    assert len({len(row) for row in model.tokenize(prompts)}) > 1  # some rows are padded
    said = [item.answer("en") for item in parallel(4)]
    for one in kinds:
        batched = one.answers(prompts, 8)
        assert batched == [one.answers([prompt], 8)[0] for prompt in prompts], one.name
        scores = one.logprobs(prompts, said)
        alone = [one.logprobs([p], [a])[0] for p, a in zip(prompts, said, strict=True)]
        assert scores == pytest.approx(alone, abs=1e-3), one.name
    together = answers_of(kinds[:4], prompts, 8)
    assert together == [one.answers(prompts, 8) for one in kinds[:4]]


def small_vector(model: ist.HookedLM) -> SteppedVector:
    items = parallel(2, split="train")
    return steering_vector(Task(Learning(steps=8), model, items, [], model, 0), 2)


def test_a_prefix_answers_with_what_it_finds_likeliest(prefixed):
    """Generation with the cached prefix is what whole passes over every prefix of it say."""
    adapted = prefixed[0]
    model, question = adapted.model, parallel(1)[0].question("en")
    row = model.tokenize([question])[0]
    tokens = list(row)
    with torch.inference_mode():
        for _ in range(10):
            ids = torch.tensor([tokens])
            found = adapted.net(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            tokens.append(int(found[0, -1].argmax()))
    assert adapted.answers([question], 10) == [model.decode(tokens[len(row) :])]


def test_a_prefix_stops_where_the_model_does(prefixed):
    texts = prefixed[0].answers([item.question("en") for item in parallel(3)], 80)
    assert all(text and "<|" not in text for text in texts)
    assert any(text.endswith(".") for text in texts)


def test_a_trained_model_speaks_the_language_it_was_shown(
    merged, burattino_instruct, burattino_base
):
    items = parallel(6)
    task = Task(Learning(), burattino_instruct, items, [], burattino_base, 0)
    given = score_answers(task, items, [item.answer("it") for item in items])
    assert all(row["sound"] and row["kept"] for row in given)  # they are the examples
    assert not any(row["fluent"] for row in score_answers(task, items, ["di per " * 30] * 6))
    asked = [item.question("en") for item in items]

    def italian(adapted) -> int:
        rows = score_answers(task, items, adapted.answers(asked, 48))
        assert all(row["sound"] == (row["in_target"] and row["fluent"]) for row in rows)
        return sum(bool(row["in_target"]) for row in rows)

    assert italian(Prompted("original", burattino_instruct)) == 0
    assert italian(merged[0]) >= 2


def test_the_vector_learns_from_the_given_examples_alone(burattino_instruct):
    def vector(n: int, n_items: int, target: str = "it"):
        items = parallel(n_items, split="train")
        model, learning = burattino_instruct, Learning(target=target, steps=6)
        return steering_vector(Task(learning, model, items, [], model, 0), n)

    found = vector(3, 3)
    assert torch.equal(found.directions, vector(3, 5).directions)
    assert found.n_steps == 6 and bool((found.norms > 0).all())  # at step 0 too
    with pytest.raises(ContrastError, match="same prompt"):
        vector(3, 3, target="en")
    with pytest.raises(OptionError, match="n=1"):
        vector(1, 3)


def test_impossible_training_is_refused():
    with pytest.raises(OptionError, match="above 0"):
        Training(rate=0.0)
    with pytest.raises(OptionError, match="0 examples to fit"):
        lora(copied(), [], examples(2), QUICK)
    with pytest.raises(OptionError, match="a, b adapt different models"):
        answers_of([Prompted("a", copied()), Prompted("b", copied())], ["x"], 4)


def test_operations_and_memory_are_those_of_the_shapes():
    a, b = torch.ones(64, 32), torch.ones(32, 16)

    def work() -> torch.Tensor:
        first = a @ b  # 64 * 16 * 4 bytes
        second = first + 1
        del first
        return second * 2

    found, count = count_work(work, torch.device("cpu"))
    assert torch.equal(found, (a @ b + 1) * 2)
    assert count == Count(2.0 * 64 * 32 * 16, 2 * 64 * 16 * 4)
    assert count_work(lambda: a.T, torch.device("cpu"))[1] == Count(0.0, 0)  # a view holds nothing
    assert (count + count.times(3)).flops == 4 * count.flops


def test_a_pass_over_the_answer_counts_what_decoding_it_takes(burattino_instruct):
    model = Prompted("original", burattino_instruct)
    prompts = [parallel(1)[0].question("en")]
    answers, decoding = count_work(lambda: model.answers(prompts, 12), torch.device("cpu"))
    _, whole = count_work(lambda: model.logprobs(prompts, answers), torch.device("cpu"))
    assert whole.flops == pytest.approx(decoding.flops, rel=0.05)
    weights = sum(weight.numel() for weight in burattino_instruct.plain.parameters())
    assert whole.flops > 2 * weights * 12


def test_attention_on_a_cpu_is_counted_both_ways():
    shape = (2, 4, 16, 8)  # batch, heads, positions, width
    query, key, value = (torch.randn(shape, requires_grad=True) for _ in range(3))

    def work() -> None:
        torch.nn.functional.scaled_dot_product_attention(query, key, value).sum().backward()

    once = 2 * 2 * 4 * 16 * 16 * 8  # one product of queries and keys
    assert count_work(work, torch.device("cpu"))[1].flops == once * (2 + 5)


def rows(**changed: list) -> pl.DataFrame:
    frame = {
        "method": ["original", "system prompt", "steered", "steered", "lora", "lora"],
        "n": [0, 0, 8, 32, 8, 32],
        "value": [0.0, 0.5, 0.4, 0.6, 0.5, 0.7],
        "low": [0.0, 0.3, 0.2, 0.4, 0.3, 0.5],
        "high": [0.2, 0.7, 0.6, 0.8, 0.7, 0.9],
        "learn_flops": [0.0, 1e9, 2e10, 3e10, 4e11, 9e11],
        "answer_flops": [3e8, 4e8, 3e8, 3e8, 3e8, 3e8],
        "answer_flops_low": [2e8] * 6,
        "answer_flops_high": [5e8] * 6,
    }
    return pl.DataFrame(frame | changed)


def test_benefit_against_cost_has_a_place_for_what_costs_nothing():
    drawing = benefit_against_cost(rows())
    points = {t.name: t for t in drawing.figure.data if t.showlegend}
    assert list(points["steered"].x) == [2e10, 3e10]
    assert list(points["steered"].text) == ["8", "32"]
    assert list(points["original"].x) == [1e8]
    assert "steered (n = 32) 60% [40, 80] (3e+10 to learn, 3e+08 an answer)" in drawing.caption
    with pytest.raises(FigureError, match="no operations"):
        benefit_against_cost(rows(answer_flops=[0.0] * 6))


def test_shares_have_a_panel_for_each_measure():
    frame = pl.concat(
        rows().with_columns(pl.lit(name).alias("measure")) for name in ("facts", "in_target")
    )
    drawing = adaptation_shares(frame)
    titles = [note.text for note in drawing.figure.layout.annotations]
    assert titles == ["target language", "facts known"]
    assert drawing.caption.startswith("Target language: original 0% [0, 20]")
    with pytest.raises(FigureError, match="no panel for taste"):
        adaptation_shares(frame.with_columns(pl.lit("taste").alias("measure")))


@pytest.mark.slow
def test_the_analysis_compares_every_method_on_the_same_questions(run):
    small = ["--n", "4", "--n-test", "4", "--n-select", "2", "--n-choices", "4", "--n-timed", "1"]
    quick = ["--epochs", "2", "--schedules", "fixed", "--strengths", "1", "2", "--shots", "1"]
    results = run("adaptation_baselines", *small, *quick, "--max-new-tokens", "32")
    found = results["adaptation_baselines"]
    records = found.records()
    assert records is not None
    by = records.group_by("method", "n", maintain_order=True).agg("key")
    methods = [
        "original",
        "system prompt",
        "few-shot",
        "lora",
        "prefix tuning",
        "steered",
        "random",
    ]
    assert by["method"].to_list() == methods
    assert len({tuple(keys) for keys in by["key"]}) == 1
    original = records.filter(pl.col("method") == "original")
    assert not original["in_target"].any() and original["fluent"].all()
    summary = found.summary
    assert summary["in_target.original.0"] == 0 < summary["in_target.original.0.high"]
    assert summary["learn_flops.lora.4"] > summary["learn_flops.steered.4"] > 0
    assert summary["answer_flops.few-shot.4"] > 2 * summary["answer_flops.original.0"]
    assert summary["facts.original.0.low"] < summary["facts.original.0"] == 1
    assert 0 < summary["mcnemar_p.sound.steered over lora.4"] <= 1
