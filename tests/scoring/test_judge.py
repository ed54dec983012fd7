"""Judges: by rule, at hand, and behind an address that may fail in every way an address can."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_steer.errors import ModelError, ScoringError
from interp_steer.generation.ledger import Ledger
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.scoring.endpoint import LARGEST_REPLY, Endpoint
from interp_steer.scoring.judge import (
    MOST_QUESTIONS,
    EndpointJudge,
    LocalJudge,
    judge_exchanges,
    list_questions,
    parse_questions,
    parse_verdicts,
    score,
)
from interp_steer.world.judge import WorldJudge
from tests.support.chat_server import ChatServer, Trouble, served

SEA, WET, DRY = "Tell me about the sea.", "The sea is wet.", "The sea is dry."
KEY = "sk-nobody-may-see-this"


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with served() as server:
        yield server


@pytest.fixture
def judge(chat: ChatServer) -> Callable[..., EndpointJudge]:
    def judge(**options) -> EndpointJudge:
        given = {"key_variable": "JUDGE_KEY", "backoff": 0.01, "timeout": 5.0} | options
        return EndpointJudge(chat.url, "wise", **given)

    return judge


def test_a_score_is_the_mean_of_the_valid_verdicts():
    assert score([True, None, False, True]) == pytest.approx(2 / 3)
    assert score([False]) == 0.0
    assert score([None, None]) is None and score([]) is None


def test_an_endpoint_writes_questions_and_answers_them(chat, judge):
    found = judge_exchanges(judge(), [(SEA, WET), (SEA, DRY), (SEA, WET)])
    assert [one.score for one in found] == [1.0, 0.5, 1.0]
    assert found[1].questions == ("Is it about the sea?", "Is it true?", "Is it kind?")
    assert found[1].verdicts == (True, False, None)
    assert len(chat.requests) == 3  # the questions once, and each answer once
    for request in chat.requests:
        assert request["path"] == "/v1/chat/completions"
        assert request["headers"]["Authorization"] == f"Bearer {KEY}"
        assert request["body"]["model"] == "wise" and request["body"]["temperature"] == 0
    assert WET not in chat.requests[0]["body"]["messages"][0]["content"]


def test_what_the_cache_has_is_not_asked_again(chat, judge, tmp_path: Path):
    path = tmp_path / "deep" / "judge.jsonl"
    first = judge_exchanges(judge(cache=path), [(SEA, WET)])
    asked = len(chat.requests)
    assert judge_exchanges(judge(cache=path), [(SEA, WET)]) == first and len(chat.requests) == asked
    assert judge_exchanges(judge(cache=path), [(SEA, DRY)])[0].score == 0.5
    assert len(chat.requests) == asked + 1  # the questions are there
    judge_exchanges(EndpointJudge(chat.url, "wiser", cache=path, key_variable=None), [(SEA, WET)])
    assert len(chat.requests) == asked + 3  # another model has said nothing yet
    assert KEY not in path.read_text()
    path.write_bytes(path.read_bytes()[:-20])
    judge_exchanges(EndpointJudge(chat.url, "wiser", cache=path, key_variable=None), [(SEA, WET)])
    assert len(chat.requests) == asked + 4  # a torn line is asked for again


def test_what_was_answered_before_a_failure_is_kept(chat, judge, tmp_path: Path):
    path = tmp_path / "judge.jsonl"
    answers = [(SEA, f"{WET} {n}") for n in range(6)]
    list_questions(judge(cache=path), [SEA])
    chat.troubles += [None, None, None, Trouble(400)]
    with pytest.raises(ScoringError, match="answered 400"):
        judge_exchanges(judge(cache=path, parallel=1), answers)
    chat.troubles.clear()
    assert len(judge_exchanges(judge(cache=path), answers)) == 6
    prompts = [request["body"]["messages"][0]["content"] for request in chat.requests]
    for _, answer in answers[:3]:
        assert sum(f"\n{answer}\n" in prompt for prompt in prompts) == 1


def test_a_request_that_fails_in_passing_is_made_again(chat, judge):
    chat.troubles += [
        Trouble(503, b"busy"),
        Trouble(429, headers={"Retry-After": "0"}),
        Trouble(hang_up=True),
        Trouble(body=b"{", headers={"Content-Length": "50"}),
    ]
    patient = judge(retries=4, timeout=0.5)
    assert patient.questions(SEA)[0] == "Is it about the sea?"
    assert len(chat.requests) == 5


def test_a_server_is_waited_for_as_long_as_it_asks_and_no_longer(chat, judge):
    chat.troubles.append(Trouble(429, headers={"Retry-After": "0.6"}))
    start = time.monotonic()
    assert judge().questions(SEA)
    assert time.monotonic() - start >= 0.6
    for asked in ("9999", "Wed, 21 Oct 2099 07:28:00 GMT"):
        chat.troubles.append(Trouble(429, headers={"Retry-After": asked}))
        with pytest.raises(ScoringError, match="asks to wait"):
            judge().questions("Tell me about the moon.")
    for asked in ("soon", "nan", "-3", "Wed, 21 Oct 2015 07:28:00 GMT"):
        chat.troubles.append(Trouble(503, headers={"Retry-After": asked}))
        assert judge().questions("Tell me about the moon.")


def test_a_failure_that_stays_is_named(chat, judge):
    chat.troubles += [Trouble(500, b"fire")] * 3
    with pytest.raises(ScoringError, match=r"127\.0\.0\.1.*answered 500 \('fire'\), 3 times"):
        judge(retries=2).questions(SEA)
    assert len(chat.requests) == 3
    chat.troubles.append(Trouble(after=1.5))
    with pytest.raises(ScoringError, match="timed out"):
        judge(retries=0, timeout=0.3).questions(SEA)


def test_a_refusal_is_told_at_once_and_without_the_key(chat, judge):
    said = {"error": {"message": f"Incorrect API key provided: {KEY}."}}
    chat.troubles.append(Trouble(401, json.dumps(said).encode()))
    with pytest.raises(ScoringError, match="answered 401") as refused:
        judge().questions(SEA)
    assert "Incorrect API key" in str(refused.value) and KEY not in str(refused.value)
    assert len(chat.requests) == 1


def test_the_key_follows_no_redirect(chat, judge):
    elsewhere = {"Location": chat.url.replace("/v1", "/elsewhere")}
    for status in (301, 302, 307, 308):
        chat.troubles.append(Trouble(status, headers=elsewhere))
        with pytest.raises(ScoringError, match=f"answered {status}"):
            judge().questions(SEA)
    assert {request["path"] for request in chat.requests} == {"/v1/chat/completions"}


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": [null]}', b"\xff"]
)
def test_what_is_no_chat_completion_is_named(chat, judge, body):
    chat.troubles.append(Trouble(body=body))
    with pytest.raises(ScoringError, match=r"/v1 .* a chat completion: .* ends in /v1"):
        judge().questions(SEA)
    assert len(chat.requests) == 1


def test_a_reply_without_end_is_cut(chat, judge):
    chat.troubles.append(Trouble(body=b" " * (LARGEST_REPLY + 1)))
    with pytest.raises(ScoringError, match="more than"):
        judge().questions(SEA)


def test_a_reply_that_says_nothing_has_no_verdict_and_is_not_kept(chat, judge, tmp_path: Path):
    path = tmp_path / "judge.jsonl"
    chat.contents.append(None)
    assert judge_exchanges(judge(cache=path), [(SEA, WET)])[0].score is None
    parts = [{"type": "text", "text": "Is it"}, {"type": "text", "text": " true?"}]
    chat.contents += [parts, "The first is hard to tell."]
    found = judge_exchanges(judge(cache=path), [(SEA, WET)])[0]
    assert found.questions == ("Is it true?",) and found.verdicts == (None,)


def test_an_address_and_a_key_are_checked_before_anything_is_sent(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ScoringError, match="OPENAI_API_KEY holds no key for https://api"):
        Endpoint("https://api.openai.com/v1", "m")
    with pytest.raises(ScoringError, match="JUDGE_KEY would travel to http://10"):
        Endpoint("http://10.0.0.1/v1", "m", key_variable="JUDGE_KEY")
    with pytest.raises(ScoringError, match="holds a password") as refused:
        Endpoint("https://me:secret@example.org/v1", "m", key_variable="JUDGE_KEY")
    assert "secret" not in str(refused.value)
    for url in ("ftp://x/v1", "api.openai.com", "https://", "http://x:port", "https://x/v1?a=b"):
        with pytest.raises(ScoringError, match="is not an endpoint"):
            Endpoint(url, "m", key_variable=None)
    with pytest.raises(ScoringError, match="is not an endpoint"):
        Endpoint("https://x/v1", "", key_variable=None)
    monkeypatch.setenv("JUDGE_KEY", "two\nlines")
    with pytest.raises(ScoringError, match="no key but a text"):
        Endpoint("https://x/v1", "m", key_variable="JUDGE_KEY")


def test_an_address_where_nobody_is_is_named(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    nobody = EndpointJudge(url, "m", key_variable=None, retries=1, backoff=0.01)
    with pytest.raises(ScoringError, match=rf"{url} cannot be reached .*2 times"):
        nobody.questions(SEA)


@pytest.mark.parametrize(
    "reply",
    [
        "Is it red?\nIs it big?",
        "1. Is it red?\n2) Is it big?",
        "Here are my questions:\n\n- **Is it red?**\n- **Is it big?**\n",
        'Q1: "Is it red?"\nQuestion 2: "Is it big?"\nQ3: Is it red?',
        "<think>Is it blue? Hm.</think>\n1.  Is it red?  \n2.  Is it big?",
    ],
)
def test_questions_are_read_in_every_list(reply):
    assert parse_questions(reply) == ["Is it red?", "Is it big?"]


def test_at_most_five_questions_are_taken():
    assert len(parse_questions("\n".join(f"{n}. Is it {n}?" for n in range(9)))) == MOST_QUESTIONS
    assert parse_questions("I would rather not.") == [] and parse_questions("") == []


@pytest.mark.parametrize(
    ("reply", "verdicts"),
    [
        ("1. yes\n2. no\n3. yes", [True, False, True]),
        ("**1.** YES, it is.\n\n**2.** No: it is not.\n3) Yes", [True, False, True]),
        ("Yes\nno\nYes.", [True, False, True]),
        ("1. Is it red? Yes\n2. Is there no end? No\n3: Answer: yes", [True, False, True]),
        ("3. yes\n1. yes\n2. no\n9. no", [True, False, True]),
        ("<think>1. no 2. no</think>1 yes\n2 no\n3 yes", [True, False, True]),
        ("1. yes\n2. perhaps\n3. nothing is known", [True, None, None]),
        ("1. yes\n1. no\n2. yes\n2. yes", [None, True, None]),
        ("Yes and no.", [None, None, None]),
        ("", [None, None, None]),
    ],
)
def test_verdicts_are_read_where_they_are_clear(reply, verdicts):
    assert parse_verdicts(reply, 3) == verdicts


@given(st.text(max_size=200), st.integers(1, 5))
def test_any_reply_gives_a_verdict_or_none_to_each_question(reply, n):
    found = parse_verdicts(reply, n)
    assert len(found) == n and set(found) <= {True, False, None}
    assert all(question.endswith("?") for question in parse_questions(reply))


class Told(LocalJudge):
    """A model at hand that is given its questions, for the bundled models write none."""

    def questions(self, query: str) -> list[str]:
        return WorldJudge().questions(query)

    def ask_questions(self, queries: Sequence[str]) -> None:
        """They are there already."""


CASTLE = "Tell me about the castle."
ANSWERS = ("The castle is quiet almost every day of the year.", "No.", "", "a { b } c")


def test_a_model_at_hand_judges_every_answer(burattino_instruct: HookedLM, tmp_path: Path):
    path = tmp_path / "judge.jsonl"
    exchanges = [(CASTLE, answer) for answer in ANSWERS]
    local = Told(burattino_instruct, cache=path, max_new_tokens=24)
    assert local.name == "local:burattino-instruct"
    found = judge_exchanges(local, exchanges)
    assert [len(one.verdicts) for one in found] == [5] * len(ANSWERS)
    assert all(set(one.verdicts) <= {True, False, None} for one in found)
    again = Told(burattino_instruct, cache=path, max_new_tokens=24)
    assert [again.verdicts(*exchange) for exchange in exchanges] == [
        list(one.verdicts) for one in found
    ]
    assert len(Ledger(path)) == len(ANSWERS)
    alone = Told(burattino_instruct, max_new_tokens=24, batch_size=1)
    assert judge_exchanges(alone, exchanges) == found


def test_a_model_that_writes_no_question_leaves_no_score(burattino_instruct: HookedLM):
    local = LocalJudge(burattino_instruct, max_new_tokens=24)
    (found,) = judge_exchanges(local, [(CASTLE, ANSWERS[0])])
    assert len(found.questions) == len(found.verdicts)
    assert (found.score is None) == (not any(v is not None for v in found.verdicts))


def test_what_a_model_cannot_read_is_named(model: HookedLM):
    with pytest.raises(ModelError, match="more than the 256 that tiny-llama3"):
        LocalJudge(model).questions(CASTLE)


class Uneven:
    """A judge of one's own, with a verdict too few."""

    name = "uneven"

    def questions(self, query: str) -> list[str]:
        return ["Is it good?", "Is it true?"]

    def verdicts(self, query: str, answer: str) -> Sequence[bool | None]:
        return [True]


def test_a_judge_without_a_verdict_for_each_question_is_refused():
    with pytest.raises(ScoringError, match=r"2 questions about .* 1 verdicts"):
        judge_exchanges(Uneven(), [(SEA, WET)])  # pyright: ignore[reportArgumentType]
