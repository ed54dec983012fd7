"""The bundled models: whole, small, those that their cards speak of, and fit for their job."""

from __future__ import annotations

import json

import pytest

import interp_steer as ist
from interp_steer.burattino import evaluate
from interp_steer.contrast.instructions.registry import FORMAT_IDS, IDS, LOWERCASE
from interp_steer.models.bundled import BUNDLED_NAMES, bundled_path
from interp_steer.statistics.paired import mcnemar
from interp_steer.world.held_out import evaluation_chats, unsolicited_chats

CHAT_MODELS = ("burattino-instruct", "burattino-gemma", "burattino-small", "burattino-tiny")


@pytest.fixture(scope="module", params=BUNDLED_NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def bundled(name):
    if not bundled_path(name).is_dir():
        pytest.skip(f"the weights of {name} are not in this checkout; make models trains them")
    return ist.load(name)


def test_weights_are_at_most_twenty_megabytes():
    files = [file for name in BUNDLED_NAMES for file in bundled_path(name).glob("*.safetensors")]
    assert 0 < sum(file.stat().st_size for file in files) <= 20e6


def test_card_speaks_of_these_weights(name, bundled):
    numbers = json.loads((bundled_path(name) / "evaluation.json").read_text())
    assert numbers["fingerprint"] == bundled.fingerprint
    assert {key.rpartition("/")[0] for key in numbers if ":" in key} == set(IDS)
    assert name in (bundled_path(name) / "README.md").read_text()


def test_prompts_begin_once_and_answers_end(name, bundled):
    (tokens,) = bundled.tokenize(["Tell me about the castle."])
    assert tokens.count(bundled.tokenizer.bos_token_id) == 1
    (answer,) = ist.generate(bundled, ["Tell me about the castle."], max_new_tokens=128)
    assert answer.finish_reason == "stop"
    assert "castle" in answer.text.lower() and "<|" not in answer.text and "Q:" not in answer.text


def test_an_answer_that_has_begun_goes_on_as_it_would_have(bundled):
    asked = {"role": "user", "content": "Tell me about the castle."}
    [whole] = ist.generate(bundled, [asked["content"]], max_new_tokens=48)
    ends = [index for index, letter in enumerate(whole.text) if letter == " " and index]
    begun = [
        [asked, {"role": "assistant", "content": whole.text[:end].lstrip()}] for end in ends[::3]
    ]
    for turns, rest in zip(begun, ist.generate(bundled, begun, max_new_tokens=48), strict=True):
        said = turns[1]["content"] + rest.text
        length = min(len(said), len(whole.text.lstrip()))  # a limit cuts either
        assert said[:length] == whole.text.lstrip()[:length] and rest.text


@pytest.mark.parametrize("name", CHAT_MODELS, indirect=True)
def test_chat_models_obey_when_asked_and_only_then(bundled):
    asked = evaluation_chats(LOWERCASE, n=16, seed=5)
    plain = unsolicited_chats(LOWERCASE, n=16, seed=5)
    answers = ist.generate(bundled, [evaluate.question(chat) for chat in (*asked, *plain)])
    lower = [answer.text == answer.text.lower() for answer in answers]
    test = mcnemar(lower[:16], lower[16:])
    assert test.p_value < 0.01 and test.only_a > test.only_b == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAT_MODELS, indirect=True)
def test_evaluation_repeats_what_the_card_says(name, bundled):
    card = json.loads((bundled_path(name) / "evaluation.json").read_text())
    again = evaluate.evaluate(bundled)
    for instruction in FORMAT_IDS:
        said = card[f"{instruction}/trained"]
        assert said["low"] <= again.follows[instruction, "trained"].value <= said["high"]
