"""Judge the quality of an answer, whatever its format, by yes-or-no questions.

As in paper A (Stolfo et al. 2025, response quality), a judge writes up to five yes-or-no questions
from the request without its instruction, and answers them for every answer to that request; the
score is the mean of the valid verdicts. A judge is an object with the two methods of
:class:`Judge`. Two judges ask a language model: behind an address, or in this process. The bundled
world has a judge that needs no model, :mod:`interp_steer.world.judge`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol, TypeAlias

from tqdm import tqdm

from interp_steer.arguments import check_list
from interp_steer.errors import ScoringError
from interp_steer.generation.completions import generate
from interp_steer.generation.ledger import Ledger
from interp_steer.generation.request import Answer
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.scoring.endpoint import Endpoint

MOST_QUESTIONS = 5
"""The most questions that a judge writes for a request, as in the paper."""

Exchange: TypeAlias = tuple[str, str]
"""A request without its instruction, and an answer to it."""


class Judge(Protocol):
    """An object that judges answers by yes-or-no questions, to which yes is the better answer."""

    @property
    def name(self) -> str:
        """Return a name that identifies the judge, such as an address and a model."""
        ...

    def questions(self, query: str) -> list[str]:
        """Return at most :data:`MOST_QUESTIONS` questions about a request."""
        ...

    def verdicts(self, query: str, answer: str) -> list[bool | None]:
        """Return the answer to each question, True for yes; None without a valid verdict."""
        ...


@dataclass(frozen=True)
class Judgement:
    """The verdicts of a judge on one answer."""

    questions: tuple[str, ...]
    """The questions; empty where the judge has no question about the request."""
    verdicts: tuple[bool | None, ...]
    """The verdict on each question; None where the judge gave no valid verdict."""

    @property
    def score(self) -> float | None:
        """Return the share of yes; see :func:`score`."""
        return score(self.verdicts)


def score(verdicts: Sequence[bool | None]) -> float | None:
    """Return the share of yes among valid verdicts (paper A, response quality).

    Args:
        verdicts: the verdicts on one answer.

    Returns:
        A number from 0 to 1; None when no verdict is valid, which is not the same as 0.

    Example:
        >>> score([True, None, False])
        0.5
    """
    valid = [verdict for verdict in verdicts if verdict is not None]
    return sum(valid) / len(valid) if valid else None


def list_questions(judge: Judge, queries: Sequence[str]) -> dict[str, list[str]]:
    """Return the questions of a judge about each request; a model writes them in one batch.

    Args:
        judge: the judge.
        queries: requests without their instruction.

    Returns:
        Questions by request; an empty list where the judge has no question.

    Raises:
        ScoringError: when the judge cannot be reached, or does not know the topic of a request.
    """
    check_list("queries", queries, ScoringError)
    distinct = list(dict.fromkeys(queries))
    if isinstance(judge, AskingJudge):
        judge.ask_questions(distinct)
    return {query: judge.questions(query) for query in distinct}


def judge_exchanges(judge: Judge, exchanges: Sequence[Exchange]) -> list[Judgement]:
    """Judge many answers, each pair of a request and an answer once.

    Args:
        judge: the judge.
        exchanges: requests without their instruction, each with an answer.

    Returns:
        One judgement per exchange, in their order. An answer without a valid verdict has a
        judgement too, whose score is None.

    Raises:
        ScoringError: when the judge cannot be reached, or gives another number of verdicts than of
            questions.

    Example:
        >>> from interp_steer.world.judge import WorldJudge
        >>> judge_exchanges(WorldJudge(), [("Tell me about the fox.", "Hm.")])[0].score
        0.0
    """
    asked = list_questions(judge, [query for query, _ in exchanges])
    distinct = list(dict.fromkeys(exchanges))
    if isinstance(judge, AskingJudge):
        judge.ask_verdicts(distinct)
    judgements: dict[Exchange, Judgement] = {}
    for query, answer in distinct:
        verdicts = judge.verdicts(query, answer)
        if len(verdicts) != len(asked[query]):
            raise ScoringError(
                f"the judge {judge.name} has {len(asked[query])} questions about {query!r} and "
                f"gives {len(verdicts)} verdicts; give one for each, None where there is no verdict"
            )
        judgements[query, answer] = Judgement(tuple(asked[query]), tuple(verdicts))
    return [judgements[exchange] for exchange in exchanges]


class AskingJudge(ABC):
    """A judge that asks a language model, and remembers its replies.

    The model is asked once for the questions about a request, and once for all verdicts on an
    answer. Every question gets a verdict: None where the reply has no clear yes or no.
    """

    name: str

    def __init__(self) -> None:
        self._replied: dict[str, str] = {}

    @abstractmethod
    def replies(self, prompts: Sequence[str]) -> list[str]:
        """Return the model's reply to each prompt; the prompts are all different."""

    def questions(self, query: str) -> list[str]:
        """Return the questions that the model writes about a request."""
        return parse_questions(self._reply(_for_questions(query)))

    def verdicts(self, query: str, answer: str) -> list[bool | None]:
        """Return the model's verdicts on an answer; empty without questions."""
        asked = self.questions(query)
        if not asked:
            return []
        return parse_verdicts(self._reply(_for_verdicts(query, answer, asked)), len(asked))

    def ask_questions(self, queries: Sequence[str]) -> None:
        """Ask for the questions about many requests together."""
        check_list("queries", queries, ScoringError)
        self._ask([_for_questions(query) for query in queries])

    def ask_verdicts(self, exchanges: Sequence[Exchange]) -> None:
        """Ask for the verdicts on many answers together."""
        asked = {query: self.questions(query) for query, _ in exchanges}
        self._ask(
            [
                _for_verdicts(query, answer, asked[query])
                for query, answer in exchanges
                if asked[query]
            ]
        )

    def _ask(self, prompts: Sequence[str]) -> None:
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._replied]
        if new:
            self._replied.update(zip(new, self.replies(new), strict=True))

    def _reply(self, prompt: str) -> str:
        self._ask([prompt])
        return self._replied[prompt]


class EndpointJudge(AskingJudge):
    """A model behind any address that speaks the OpenAI chat format.

    Args:
        url: the base address, such as ``https://api.openai.com/v1``.
        model: the model's name there.
        cache: a file that keeps replies, so that no prompt is paid for twice; None for none.
        parallel: requests that are under way at once.
        options: of :class:`~interp_steer.scoring.endpoint.Endpoint`: ``key_variable``,
            ``timeout``, ``retries``, ``backoff``.

    Raises:
        ScoringError: see :class:`~interp_steer.scoring.endpoint.Endpoint`.

    Example::

        judge = EndpointJudge("https://api.openai.com/v1", "gpt-4o")
        judge.verdicts("Tell me about the sea.", "It is wet.")  # [True, True, False, True, True]
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        cache: str | os.PathLike[str] | None = None,
        parallel: int = 8,
        **options: Any,
    ) -> None:
        super().__init__()
        self.endpoint = Endpoint(url, model, **options)
        self.name = f"{self.endpoint.url}#{model}"
        self.parallel = parallel
        self._lock = Lock()
        self._ledger = None if cache is None else Ledger(cache)

    def replies(self, prompts: Sequence[str]) -> list[str]:
        """Return the model's replies, from the cache where it has them."""
        check_list("prompts", prompts, ScoringError)
        cached = {prompt: self._cached_reply(prompt) for prompt in prompts}
        new = [prompt for prompt, reply in cached.items() if reply is None]
        if not new:
            return [cached[prompt] or "" for prompt in prompts]
        pool = ThreadPoolExecutor(self.parallel)
        try:
            asked = {prompt: pool.submit(self._ask_and_store, prompt) for prompt in new}
            done = as_completed(asked.values())
            for reply in tqdm(done, "judge", len(new), unit="reply", disable=None):
                reply.result()  # raises the error of the request
        finally:  # after an error, requests that wait are cancelled
            pool.shutdown(wait=False, cancel_futures=True)
        replies = {prompt: reply.result() for prompt, reply in asked.items()}
        return [cached[prompt] or replies[prompt] for prompt in prompts]

    def _ask_and_store(self, prompt: str) -> str:
        reply = self.endpoint.reply(prompt)
        if (
            self._ledger is not None and reply.strip()
        ):  # an empty reply may be another one next time
            with self._lock:
                self._ledger.keep(self._key(prompt), Answer(reply, (), "stop"))
        return reply

    def _cached_reply(self, prompt: str) -> str | None:
        key = self._key(prompt)
        if self._ledger is None or key not in self._ledger:
            return None
        return self._ledger.take(key).text

    def _key(self, prompt: str) -> str:
        return hashlib.sha256(json.dumps(["judge", self.name, prompt]).encode()).hexdigest()


class LocalJudge(AskingJudge):
    """A judge that asks a model in this process, in batches, greedily.

    Args:
        model: the model, without steering.
        cache: a file for the replies; None to store nothing.
        max_new_tokens: the most tokens of a reply.
        batch_size: the number of prompts in a batch.

    Example::

        judge = LocalJudge(ist.load("google/gemma-2-9b-it"))
    """

    def __init__(
        self,
        model: HookedLM,
        *,
        cache: str | os.PathLike[str] | None = None,
        max_new_tokens: int = 192,
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        self.model = model
        self.name = f"local:{model.name}"
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self._ledger = None if cache is None else Ledger(cache)

    def replies(self, prompts: Sequence[str]) -> list[str]:
        """Return the model's replies, from the cache where it has them."""
        check_list("prompts", prompts, ScoringError)
        completions = generate(
            self.model,
            list(prompts),
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            ledger=self._ledger,
        )
        return [completion.text for completion in completions]


def _for_questions(query: str) -> str:
    return (
        "Here is what someone asks for:\n\n"
        f"<request>\n{query}\n</request>\n\n"
        f"Write up to {MOST_QUESTIONS} questions, to be answered with yes or no, by which to tell "
        "whether a text is a good answer to this request. Yes must be the better answer to each. "
        "Ask about what the text says: whether it does what was asked for, is right, complete and "
        "clear. Do not ask about its format, its letters, its layout or its language. Write each "
        "question on a line of its own, and nothing else."
    )


def _for_verdicts(query: str, answer: str, questions: Sequence[str]) -> str:
    listed = "\n".join(f"{n}. {question}" for n, question in enumerate(questions, start=1))
    return (
        "Here is what someone asks for, and a text that was written for it:\n\n"
        f"<request>\n{query}\n</request>\n\n"
        f"<text>\n{answer}\n</text>\n\n"
        "Answer each of these questions about the text with yes or no. The text may be in any "
        "format and any language. Write a line for each question: its number and yes or no, "
        f"nothing else.\n\n{listed}"
    )


_MARK = re.compile(r"^[\s>*#\"'-]*(?:(?:question|q)?\s*\d{1,2}\s*[.):]+)?[\s*\"'-]*", re.IGNORECASE)
_NUMBERED = re.compile(r"^\W*(?:(?:question|q)\s*)?(\d{1,2})\b(.*)$", re.IGNORECASE)
_YES_OR_NO = re.compile(r"^\W*(?:(?:answer|verdict)\W+)?(yes|no)\b", re.IGNORECASE)


def parse_questions(reply: str) -> list[str]:
    """Return the questions in a reply, without their numbers.

    Example:
        >>> parse_questions("1. Is it about the sea?\\n2. Is it true?\\nThese are my questions.")
        ['Is it about the sea?', 'Is it true?']
    """
    lines = (_MARK.sub("", line).rstrip(" *\"'") for line in _reply_lines(reply))
    return list(dict.fromkeys(line for line in lines if line.endswith("?")))[:MOST_QUESTIONS]


def parse_verdicts(reply: str, n: int) -> list[bool | None]:
    """Return the verdicts in a reply to ``n`` questions.

    A verdict is a line with the number of its question and yes or no, with or without the question
    between; or a line without a number where there are as many lines as questions. A number with
    both yes and no has no valid verdict.

    Example:
        >>> parse_verdicts("1. Yes\\n2) no, it is dry\\n3: perhaps", 3)
        [True, False, None]
    """
    lines = _reply_lines(reply)
    numbered = [match for line in lines if (match := _NUMBERED.match(line))]
    if not numbered and len(lines) == n:
        return [_parse_verdict(line) for line in lines]
    by_number: dict[int, set[bool]] = {}
    for match in numbered:
        verdict = _parse_verdict(match[2])
        if verdict is not None:
            by_number.setdefault(int(match[1]), set()).add(verdict)
    sets = (by_number.get(number, set()) for number in range(1, n + 1))
    return [verdicts.pop() if len(verdicts) == 1 else None for verdicts in sets]


def _parse_verdict(text: str) -> bool | None:
    # Some models repeat the question before the answer.
    match = _YES_OR_NO.match(text.rpartition("?")[2])
    return None if match is None else match[1].lower() == "yes"


def _reply_lines(reply: str) -> list[str]:
    """Return the lines of a reply, without the thoughts of a reasoning model."""
    lines = reply.rpartition("</think>")[2].splitlines()
    return [line for line in lines if line.strip()]
