"""How good is an answer, whatever its format? A judge asks yes-or-no questions and counts.

As in paper A (Stolfo et al. 2025, response quality): from the request without its instruction a
judge writes up to five yes-or-no questions; it answers them for every answer to that request; the
score is the mean of the verdicts that are valid. A judge is anything with the two methods of
:class:`Judge`. Two of them ask a language model, one behind an address and one at hand; the bundled
world has a judge of its own that needs no model, :mod:`interp_steer.world.judge`.
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
"""Questions that a judge writes for a request at most, as in the paper."""

Exchange: TypeAlias = tuple[str, str]
"""A request without its instruction, and an answer to it."""


class Judge(Protocol):
    """Judges answers by yes-or-no questions about them, to which yes is good."""

    @property
    def name(self) -> str:
        """What tells the judge from others, such as an address and a model."""
        ...

    def questions(self, query: str) -> list[str]:
        """At most :data:`MOST_QUESTIONS` questions, from the request without its instruction."""
        ...

    def verdicts(self, query: str, answer: str) -> list[bool | None]:
        """Whether each question is to be answered with yes; None where no valid verdict came."""
        ...


@dataclass(frozen=True)
class Judgement:
    """What a judge says of one answer."""

    questions: tuple[str, ...]
    """What was asked; none where the judge had no question about the request."""
    verdicts: tuple[bool | None, ...]
    """One for each question; None where the judge gave no valid one."""

    @property
    def score(self) -> float | None:
        """See :func:`score`."""
        return score(self.verdicts)


def score(verdicts: Sequence[bool | None]) -> float | None:
    """The share of yes among valid verdicts (paper A, response quality).

    Args:
        verdicts: of one answer.

    Returns:
        A number from 0 to 1; None when no verdict is valid, which is not the same as 0.

    Example:
        >>> score([True, None, False])
        0.5
    """
    valid = [verdict for verdict in verdicts if verdict is not None]
    return sum(valid) / len(valid) if valid else None


def questions_of(judge: Judge, queries: Sequence[str]) -> dict[str, list[str]]:
    """The questions of a judge about each request, asked together where a model writes them.

    Args:
        judge: the judge.
        queries: requests without their instruction.

    Returns:
        Questions by request; an empty list where the judge has none.

    Raises:
        ScoringError: when the judge cannot be asked, or does not know what a request is about.
    """
    check_list("queries", queries, ScoringError)
    each = list(dict.fromkeys(queries))
    if isinstance(judge, AskingJudge):
        judge.ask_questions(each)
    return {query: judge.questions(query) for query in each}


def judged(judge: Judge, exchanges: Sequence[Exchange]) -> list[Judgement]:
    """Judge many answers, each pair of a request and an answer once.

    Args:
        judge: the judge.
        exchanges: requests without their instruction, each with an answer.

    Returns:
        One judgement per exchange, in their order. An answer without a valid verdict has a
        judgement too, whose score is None.

    Raises:
        ScoringError: when the judge cannot be asked, or gives another number of verdicts than it
            has questions.

    Example:
        >>> judged(WorldJudge(), [("Tell me about the fox.", "Hm.")])[0].score  # doctest: +SKIP
        0.0
    """
    asked = questions_of(judge, [query for query, _ in exchanges])
    each = list(dict.fromkeys(exchanges))
    if isinstance(judge, AskingJudge):
        judge.ask_verdicts(each)
    found: dict[Exchange, Judgement] = {}
    for query, answer in each:
        verdicts = judge.verdicts(query, answer)
        if len(verdicts) != len(asked[query]):
            raise ScoringError(
                f"the judge {judge.name} has {len(asked[query])} questions about {query!r} and "
                f"gives {len(verdicts)} verdicts; it must give one for each, None where it has none"
            )
        found[query, answer] = Judgement(tuple(asked[query]), tuple(verdicts))
    return [found[exchange] for exchange in exchanges]


class AskingJudge(ABC):
    """A judge that asks a language model; what the model replied is remembered.

    The model is asked once for the questions about a request, and once for all verdicts about an
    answer. Whatever its reply is, there is a verdict for each question: None where the reply holds
    no clear yes or no for it.
    """

    name: str

    def __init__(self) -> None:
        self._replied: dict[str, str] = {}

    @abstractmethod
    def replies(self, prompts: Sequence[str]) -> list[str]:
        """What the model replies to each prompt, which are all different."""

    def questions(self, query: str) -> list[str]:
        """The questions that the model writes about a request."""
        return questions_in(self._reply(_for_questions(query)))

    def verdicts(self, query: str, answer: str) -> list[bool | None]:
        """The model's verdicts about an answer; none where it has no question."""
        asked = self.questions(query)
        if not asked:
            return []
        return verdicts_in(self._reply(_for_verdicts(query, answer, asked)), len(asked))

    def ask_questions(self, queries: Sequence[str]) -> None:
        """Ask for the questions about many requests together."""
        check_list("queries", queries, ScoringError)
        self._ask([_for_questions(query) for query in queries])

    def ask_verdicts(self, exchanges: Sequence[Exchange]) -> None:
        """Ask for the verdicts about many answers together."""
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

    Example:
        >>> judge = EndpointJudge("https://api.openai.com/v1", "gpt-4o")  # doctest: +SKIP
        >>> judge.verdicts("Tell me about the sea.", "It is wet.")        # doctest: +SKIP
        [True, True, False, True, True]
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
        """What the model replies, from the cache where it has the reply."""
        check_list("prompts", prompts, ScoringError)
        kept = {prompt: self._kept(prompt) for prompt in prompts}
        new = [prompt for prompt, reply in kept.items() if reply is None]
        if not new:
            return [kept[prompt] or "" for prompt in prompts]
        pool = ThreadPoolExecutor(self.parallel)
        try:
            asked = {prompt: pool.submit(self._asked, prompt) for prompt in new}
            done = as_completed(asked.values())
            for reply in tqdm(done, "judge", len(new), unit="reply", disable=None):
                reply.result()  # raises what was raised
        finally:  # one that fails lets none of the others start
            pool.shutdown(wait=False, cancel_futures=True)
        said = {prompt: reply.result() for prompt, reply in asked.items()}
        return [kept[prompt] or said[prompt] for prompt in prompts]

    def _asked(self, prompt: str) -> str:
        reply = self.endpoint.reply(prompt)
        if self._ledger is not None and reply.strip():  # what was not said may be another time
            with self._lock:
                self._ledger.keep(self._key(prompt), Answer(reply, (), "stop"))
        return reply

    def _kept(self, prompt: str) -> str | None:
        key = self._key(prompt)
        if self._ledger is None or key not in self._ledger:
            return None
        return self._ledger.take(key).text

    def _key(self, prompt: str) -> str:
        return hashlib.sha256(json.dumps(["judge", self.name, prompt]).encode()).hexdigest()


class LocalJudge(AskingJudge):
    """A model at hand, asked in batches, greedily.

    Args:
        model: the model, which is not steered meanwhile.
        cache: a file that keeps replies; None for none.
        max_new_tokens: where a reply is cut.
        batch_size: prompts answered at once.

    Example:
        >>> judge = LocalJudge(ist.load("google/gemma-2-9b-it"))          # doctest: +SKIP
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
        """What the model replies, from the cache where it has the reply."""
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
_SAID = re.compile(r"^\W*(?:(?:answer|verdict)\W+)?(yes|no)\b", re.IGNORECASE)


def questions_in(reply: str) -> list[str]:
    """The questions of a reply, without their numbers; none where it asks nothing.

    Example:
        >>> questions_in("1. Is it about the sea?\\n2. Is it true?\\nThese are my questions.")
        ['Is it about the sea?', 'Is it true?']
    """
    lines = (_MARK.sub("", line).rstrip(" *\"'") for line in _spoken(reply))
    return list(dict.fromkeys(line for line in lines if line.endswith("?")))[:MOST_QUESTIONS]


def verdicts_in(reply: str, n: int) -> list[bool | None]:
    """The verdicts of a reply to ``n`` questions.

    A verdict is a line with the number of its question and yes or no, with or without the question
    between; or a bare line where there are as many lines as questions. A number that has both yes
    and no has no valid verdict.

    Example:
        >>> verdicts_in("1. Yes\\n2) no, it is dry\\n3: perhaps", 3)
        [True, False, None]
    """
    lines = _spoken(reply)
    numbered = [match for line in lines if (match := _NUMBERED.match(line))]
    if not numbered and len(lines) == n:
        return [_verdict(line) for line in lines]
    said: dict[int, set[bool]] = {}
    for match in numbered:
        verdict = _verdict(match[2])
        if verdict is not None:
            said.setdefault(int(match[1]), set()).add(verdict)
    each = (said.get(number, set()) for number in range(1, n + 1))
    return [verdicts.pop() if len(verdicts) == 1 else None for verdicts in each]


def _verdict(text: str) -> bool | None:
    # Some repeat the question before they answer it.
    match = _SAID.match(text.rpartition("?")[2])
    return None if match is None else match[1].lower() == "yes"


def _spoken(reply: str) -> list[str]:
    """The lines of a reply, without what a reasoning model thinks first."""
    lines = reply.rpartition("</think>")[2].splitlines()
    return [line for line in lines if line.strip()]
