"""A steered model in lm-evaluation-harness: its numbers are hf's without steering, ours with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM

from interp_steer import generate, logprobs
from interp_steer.errors import (
    GenerationError,
    InterventionError,
    ModelError,
    RunError,
    VectorError,
)
from interp_steer.harness import SteeredLM, make_intervention
from interp_steer.harness.steering import read_vector
from interp_steer.interventions.intervention import Intervention, unsteered
from interp_steer.interventions.schedules import diminishing
from interp_steer.models import bundled
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.loading import load
from interp_steer.vectors.stepped_vector import SteppedVector
from tests.support.vectors import vector_of

TOLERANCE = 1e-5
"""Of log-likelihoods, relative: float32, in batches of other shapes."""

PAIRS = [
    ("Q: What colour is the fox?\nA:", " red"),
    ("Q: What colour is the fox?\nA:", " blue"),
    ("Q: What colour is the fox?\nA:", " as red as the castle"),
    ("The castle", " is old and stands near the sea."),
    ("The castle is", " old and stands near the sea."),  # the same tokens, split elsewhere
    ("The castle ", "is old"),  # whose space goes with what follows
    ("", "The castle is old."),
    ("Era una volta un falegname.", " Perché?"),
]
OVERLONG = ("The sea is cold. " * 300, "The fox is red.")
TEXTS = ["The castle is old.", "a", "The fox is red, and the sea is cold. " * 200]
UNTIL = [
    ("Q: What colour is the fox?\nA:", {"until": ["\n"], "max_gen_toks": 40}),
    ("The castle", {"until": [".", "is"], "max_gen_toks": 30}),
    ("The castle is", {"until": [".", "is"], "max_gen_toks": 30}),
    ("The sea", {"until": [], "max_gen_toks": 24}),
    ("The sea is cold. " * 300, {"until": "\n\n", "max_gen_toks": 24}),
    ("", {"until": ["Q:"], "max_gen_toks": 16, "do_sample": False, "temperature": 0.0}),
]


def requests(kind: str, arguments: Sequence[Any]) -> list[Instance]:
    each = [one if isinstance(one, tuple) else (one,) for one in arguments]
    return [Instance(kind, {}, one, number) for number, one in enumerate(each)]  # type: ignore


@pytest.fixture(scope="module", params=["burattino-base", "llama3"])
def pair(
    request: pytest.FixtureRequest, checkpoint: Callable[[str], Path]
) -> tuple[HFLM, HookedLM]:
    """lm-eval's own model of a checkpoint, and ours."""
    name = request.param
    folder = bundled.bundled_path(name) if name in bundled.BUNDLED_NAMES else checkpoint(name)
    hf = HFLM(str(folder), device="cpu", batch_size=4, logits_cache=False)
    return hf, load(name if name in bundled.BUNDLED_NAMES else folder, device="cpu")


def stepped_of(model: HookedLM, n_steps: int = 3) -> SteppedVector:
    """A random direction per step, in the heads of two layers."""
    shape = (n_steps, 2, model.n_heads, model.d_head)
    card = replace(vector_of(model).card, component="z")
    directions = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return SteppedVector(directions, torch.ones(2, n_steps, dtype=torch.int64), (1, 2), card)


@pytest.fixture(scope="module")
def steer(burattino_base: HookedLM) -> Intervention:
    return make_intervention(vector_of(burattino_base), layer=2, coefficient=6.0)


def totals(answers: Sequence[tuple[float, bool]]) -> list[float]:
    return [total for total, _ in answers]


# ---------------------------------------------------------------------- equal to lm-eval's own hf
@pytest.mark.parametrize("strength", [None, 0.0])
def test_without_strength_the_log_likelihoods_are_those_of_hf(pair, strength) -> None:
    hf, model = pair
    steering = unsteered
    if strength is not None:
        steering = make_intervention(vector_of(model), layer=1, coefficient=strength)
    lm = SteeredLM(model, steering, batch_size=3)
    theirs = hf.loglikelihood(requests("loglikelihood", [*PAIRS, OVERLONG]))
    ours = lm.loglikelihood(requests("loglikelihood", [*PAIRS, OVERLONG]))
    assert totals(ours) == pytest.approx(totals(theirs), rel=TOLERANCE)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_what_the_model_would_say_is_greedy(pair) -> None:
    hf, model = pair
    context, said = hf.tok_encode("The castle is"), []
    for _ in range(4):
        said.append(int(hf._model_call(torch.tensor([context + said]))[0, -1].argmax()))
    asked: list[Any] = [(None, context, said), (None, context, [*said[:-1], said[-1] + 1])]
    for one in (hf, SteeredLM(model)):
        assert [greedy for _, greedy in one._loglikelihood_tokens(asked)] == [True, False]


def test_without_strength_rolling_log_likelihoods_are_those_of_hf(pair) -> None:
    hf, model = pair
    theirs = hf.loglikelihood_rolling(requests("loglikelihood_rolling", TEXTS))
    ours = SteeredLM(model, batch_size=3).loglikelihood_rolling(
        requests("loglikelihood_rolling", TEXTS)
    )
    assert ours == pytest.approx(theirs, rel=TOLERANCE)


def test_without_strength_the_texts_are_those_of_hf(pair) -> None:
    hf, model = pair
    hf.batch_size_per_gpu = 1  # in a batch it goes on with a row that has met a stop, and cuts it
    theirs = hf.generate_until(requests("generate_until", UNTIL))
    assert SteeredLM(model).generate_until(requests("generate_until", UNTIL)) == theirs
    assert len(set(theirs)) > 3


@pytest.mark.parametrize("add_bos_token", [True, False])
def test_the_beginning_is_written_as_hf_writes_it(pair, checkpoint, add_bos_token) -> None:
    _, model = pair
    folder = model.tokenizer.name_or_path
    hf = HFLM(folder, device="cpu", logits_cache=False, add_bos_token=add_bos_token)
    lm = SteeredLM(model, add_bos_token=add_bos_token)
    for context, continuation in PAIRS[:4]:
        assert lm._encode_pair(context, continuation) == hf._encode_pair(context, continuation)
    theirs = hf.generate_until(requests("generate_until", UNTIL[:2]))
    assert lm.generate_until(requests("generate_until", UNTIL[:2])) == theirs


def test_chat_templates_are_those_of_hf(burattino_instruct: HookedLM) -> None:
    hf = HFLM(str(bundled.bundled_path("burattino-instruct")), device="cpu")
    lm = SteeredLM(burattino_instruct)
    chat = [{"role": "user", "content": "Where is the castle?"}]
    assert lm.apply_chat_template(chat) == hf.apply_chat_template(chat)
    assert lm.chat_template(True) == hf.chat_template(True)
    assert lm.tokenizer_name == hf.tokenizer_name
    asked = [(lm.apply_chat_template(chat), {"until": ["\n\n"], "max_gen_toks": 40})]
    texts = lm.generate_until(requests("generate_until", asked))
    assert texts == hf.generate_until(requests("generate_until", asked))


def test_an_answer_ends_at_a_special_token_that_it_is_asked_to_end_at(tiny) -> None:
    model = tiny("llama3")
    (said,) = SteeredLM(model).generate_until(
        requests("generate_until", [("The castle", {"until": [], "max_gen_toks": 12})])
    )
    lm = SteeredLM(model)
    special = "<|start_header_id|>"
    assert lm.tokenizer.convert_tokens_to_ids(special) in lm._ending_with([special]).stop_ids
    assert lm.tokenizer.convert_tokens_to_ids(special) not in lm._ending_with(["."]).stop_ids
    assert said


# ---------------------------------------------------------------------- steered
def test_steered_log_likelihoods_are_those_of_logprobs(
    burattino_base: HookedLM, steer: Intervention
) -> None:
    lm = SteeredLM(burattino_base, steer, batch_size=4)
    asked = ["What colour is the fox?", "Where is the castle?", "Who?"]
    said = [" The fox is red.", " near the sea", " Dario"]
    contexts = [burattino_base.render(query) for query in asked]
    tokens = [lm._encode_pair(*pair)[1] for pair in zip(contexts, said, strict=True)]
    pairs = requests("loglikelihood", list(zip(contexts, said, strict=True)))
    ours = totals(lm.loglikelihood(pairs))
    theirs = [score.total for score in logprobs(burattino_base, asked, tokens, steer)]
    plain = [score.total for score in logprobs(burattino_base, asked, tokens)]
    assert ours == pytest.approx(theirs, rel=TOLERANCE)
    assert all(abs(a - b) > 1e-2 for a, b in zip(ours, plain, strict=True))


def test_neither_neighbours_nor_batches_change_a_number(
    burattino_base: HookedLM, steer: Intervention
) -> None:
    alone = [
        SteeredLM(burattino_base, steer).loglikelihood(requests("loglikelihood", [one]))[0]
        for one in PAIRS
    ]
    for batch_size in (1, 2, 5, "auto"):
        lm = SteeredLM(burattino_base, steer, batch_size=batch_size)
        together = lm.loglikelihood(requests("loglikelihood", PAIRS[::-1]))[::-1]
        assert totals(together) == pytest.approx(totals(alone), rel=TOLERANCE)
        assert [greedy for _, greedy in together] == [greedy for _, greedy in alone]


def test_where_the_context_ends_decides_where_steering_begins(
    burattino_base: HookedLM, steer: Intervention
) -> None:
    lm = SteeredLM(burattino_base, steer)
    early, late = PAIRS[3], PAIRS[4]
    assert early[0] + early[1] == late[0] + late[1]
    both = totals(lm.loglikelihood(requests("loglikelihood", [early, late])))
    each = [totals(lm.loglikelihood(requests("loglikelihood", [one])))[0] for one in (early, late)]
    assert both == pytest.approx(each, rel=TOLERANCE)
    # What they have in common is scored from the second word on. It is steered in both, but what
    # stands before it in one of them alone.
    (first,) = totals(
        lm._loglikelihood_tokens([(None, lm.tok_encode("The castle"), lm.tok_encode(" is")[1:])])
    )
    assert abs(each[0] - first - each[1]) > 1e-3


def test_steered_texts_do_not_depend_on_the_batch(
    burattino_base: HookedLM, steer: Intervention
) -> None:
    texts = [
        SteeredLM(burattino_base, steer, batch_size=size).generate_until(
            requests("generate_until", UNTIL[:4])
        )
        for size in (1, 3)
    ]
    assert texts[0] == texts[1]
    plain = SteeredLM(burattino_base).generate_until(requests("generate_until", UNTIL[:4]))
    assert texts[0] != plain


def test_sampling_follows_the_torch_seed_and_repeats_differ(burattino_base: HookedLM) -> None:
    lm = SteeredLM(burattino_base)
    drawn = {"until": ["\n"], "max_gen_toks": 12, "do_sample": True, "temperature": 1.5}
    asked = requests("generate_until", [("The castle", drawn)] * 2)
    state = torch.random.get_rng_state()
    found = []
    for seed in (1234, 1234, 7):
        torch.manual_seed(seed)
        found.append(lm.generate_until(asked))
    torch.random.set_rng_state(state)
    assert found[0] == found[1] != found[2]
    assert found[0][0] != found[0][1]


# ---------------------------------------------------------------------- the response cache
def test_a_response_cache_belongs_to_one_steering(
    burattino_base: HookedLM, steer: Intervention, tmp_path: Path
) -> None:
    path = str(tmp_path / "answers.db")
    asked = requests("loglikelihood", PAIRS[:3])
    steered = SteeredLM(burattino_base, steer)
    first = CachingLM(steered, path).loglikelihood(asked)
    again = CachingLM(SteeredLM(burattino_base, steer), path)
    again.lm.loglikelihood = None  # nothing is left to ask
    assert again.loglikelihood(asked) == first
    with pytest.raises(RunError, match=r"holds answers of 'add.*give use_cache another path"):
        CachingLM(SteeredLM(burattino_base), path)
    (renamed,) = steer.edits
    other = Intervention((replace(renamed, direction=vector_of(burattino_base, seed=1).at(2)),))
    assert str(other) == str(steer)  # the same line for another direction
    with pytest.raises(RunError, match="another path"):
        CachingLM(SteeredLM(burattino_base, other), path)


def test_a_response_cache_of_another_model_is_refused(
    burattino_base: HookedLM, tmp_path: Path
) -> None:
    path = str(tmp_path / "answers.db")
    hf = HFLM(str(bundled.bundled_path("burattino-base")), device="cpu")
    CachingLM(hf, path).loglikelihood(requests("loglikelihood", PAIRS[:1]))
    with pytest.raises(RunError, match="of another model"):
        CachingLM(SteeredLM(burattino_base), path)


# ---------------------------------------------------------------------- model arguments
def test_model_arguments_make_the_steering_that_they_name(
    burattino_base: HookedLM, tmp_path: Path
) -> None:
    vector = vector_of(burattino_base)
    vector.save(tmp_path / "vector.safetensors")
    line = f"pretrained=burattino-base,device=cpu,vector={tmp_path}/vector.safetensors,layer=2"
    made = get_model("interp_steer").create_from_arg_string(
        f"{line},operation=add,coefficient=6,positions=first(3)", {"batch_size": 2, "device": None}
    )
    assert made.applied == str(vector.at(2).add(6.0, "first(3)"))
    assert made.batch_size == 2
    same = SteeredLM(burattino_base, vector.at(2).add(6.0, "first(3)"))
    assert made.identity == same.identity
    assert made.get_model_info()["steering"] == made.applied
    asked = requests("loglikelihood", PAIRS)
    assert totals(made.loglikelihood(asked)) == pytest.approx(
        totals(same.loglikelihood(asked)), rel=TOLERANCE
    )


def test_operations_and_their_defaults(burattino_base: HookedLM) -> None:
    vector = vector_of(burattino_base)
    five = diminishing(5)
    for made, meant in (
        (make_intervention(vector, 1), vector.at(1).add(1.0, "generated")),
        (
            make_intervention(vector, 1, schedule="diminishing(5)"),
            vector.at(1).add(1.0, "generated", five),
        ),
        (make_intervention(vector, 1, "project", positions="all"), vector.at(1).project()),
        (make_intervention(vector, 1, "project", 3.0), vector.at(1).project(3.0, "generated")),
        (make_intervention(vector, 2, "shift", 2.0), vector.at(2).shift(2.0, "generated")),
        (make_intervention(vector, operation="shift", coefficient=2.0), vector.shift(2.0)),
        (make_intervention(vector_of(burattino_base, (2,))), vector.at(2).add(1.0, "generated")),
    ):
        assert str(made) == str(meant)


def test_vectors_with_steps_shift(burattino_base: HookedLM, tmp_path: Path) -> None:
    vector = stepped_of(burattino_base)
    vector.save(tmp_path / "steps.safetensors")
    held = read_vector(tmp_path / "steps.safetensors")
    five = diminishing(5)
    made = make_intervention(held, coefficient=2.0, schedule="diminishing(5)")
    assert str(made) == str(vector.shift(2.0, five))
    site = vector.sites[1]
    one = make_intervention(held, layer=2, positions="generated")
    assert str(one) == str(vector.direction(site, site).shift(1.0, "generated"))
    with pytest.raises(InterventionError, match=r"takes 'shift'$"):
        make_intervention(held, operation="add")
    with pytest.raises(VectorError, match=r"no directions at z\.7"):
        make_intervention(held, layer=7)
    with pytest.raises(VectorError, match="missing or damaged"):
        read_vector(tmp_path / "none.safetensors")


@pytest.mark.parametrize("schedule", ["fixed", "diminishing(5)", "dynamic(0.6)"])
@pytest.mark.parametrize("stepped", [False, True])
def test_steps_and_schedules_reach_scores_and_texts(
    burattino_base: HookedLM, schedule: str, stepped: bool
) -> None:
    vector = (stepped_of if stepped else vector_of)(burattino_base)
    steering = make_intervention(vector, operation="shift", coefficient=0.5, schedule=schedule)
    lm = SteeredLM(burattino_base, steering)
    asked, said = "What colour is the fox?", " The fox is red."
    context = burattino_base.render(asked)
    tokens = lm._encode_pair(context, said)[1]
    (score,) = logprobs(burattino_base, [asked], [tokens], steering)
    (found,) = totals(lm.loglikelihood(requests("loglikelihood", [(context, said)])))
    assert found == pytest.approx(score.total, rel=TOLERANCE)
    (text,) = lm.generate_until(
        requests("generate_until", [(context, {"until": ["Q:"], "max_gen_toks": 12})])
    )
    (answer,) = generate(burattino_base, [asked], steering, max_new_tokens=12)
    assert text == answer.text


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("layer=2", ModelError, "no pretrained"),
        ("pretrained=burattino-base,layer=2", ModelError, "layer without a vector"),
        ("pretrained=burattino-base,parallelize=True", ModelError, "parallelize: unknown"),
    ],
)
def test_model_arguments_that_make_nothing_are_refused(line, error, message) -> None:
    with pytest.raises(error, match=message):
        SteeredLM.create_from_arg_string(line, {"device": "cpu"})


def test_what_cannot_be_done_is_refused(burattino_base: HookedLM, tiny) -> None:
    vector = vector_of(burattino_base)
    with pytest.raises(InterventionError, match="takes 'add', 'project', 'shift'"):
        make_intervention(vector, 1, "rotate")
    with pytest.raises(InterventionError, match=r"layers 1, 2; .*layer="):
        make_intervention(vector)
    with pytest.raises(InterventionError, match="cannot steer"):
        SteeredLM(tiny("llama3"), vector.at(1).add(1.0))
    lm = SteeredLM(burattino_base)
    for given, message in (
        ({"until": [], "max_gen_toks": 4, "num_beams": 3}, "num_beams=3"),
        ({"until": [], "max_gen_toks": 5000}, "max_gen_toks is 5000"),
    ):
        with pytest.raises(GenerationError, match=message):
            lm.generate_until(requests("generate_until", [("The castle", given)]))
    with pytest.raises(GenerationError, match="a continuation of 0"):
        lm.loglikelihood(requests("loglikelihood", [("The castle", "")]))
