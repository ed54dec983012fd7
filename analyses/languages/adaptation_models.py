"""Wrap models adapted by steering or its rivals, so that all answer and score in one way.

Steering, a system prompt, worked examples and a merged LoRA leave a :class:`HookedLM` that
:func:`interp_steer.generate` runs: :class:`Prompted`. A tuned prefix is a cache that no prompt can
replace, so peft generates from it: :class:`Prefixed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

import interp_steer as ist
from interp_steer.errors import OptionError
from interp_steer.generation import StopRule
from interp_steer.models import Message, Query, batches_by_length, in_parts

Exchange = tuple[str, str]
"""A question and the wanted answer."""

Row = tuple[list[int], list[int]]
"""The token ids of a prompt, and those of its answer."""


class Adapted(Protocol):
    """Model after an adaptation."""

    @property
    def name(self) -> str:
        """Return the name of the adaptation."""
        ...

    @property
    def stored(self) -> int:
        """Count the numbers that are stored in addition to the model's own weights."""
        ...

    def answers(self, prompts: Sequence[Query], max_new_tokens: int) -> list[str]:
        """Return the greedy answer to each prompt, ended by the model's own stop rule."""
        ...

    def logprobs(self, prompts: Sequence[Query], answers: Sequence[str]) -> list[float]:
        """Return the natural logarithm of the probability of each given answer, in nats."""
        ...


@dataclass(frozen=True, eq=False)
class Prompted:
    """Model that answers under an intervention, with turns before every question.

    Args:
        name: see :class:`Adapted`.
        model: the model that answers.
        steering: the intervention.
        before: the turns before the question: a system message, or worked examples.
        stored: see :class:`Adapted`.
        batch_size: number of rows run together.

    Example:
        >>> before = (chat_turn("system", "Answer in Italian."),)
        >>> Prompted("system prompt", model, before=before).prompt("What is a castle?")[0]
        {'role': 'system', 'content': 'Answer in Italian.'}
    """

    name: str
    model: ist.HookedLM
    steering: ist.Intervention = ist.unsteered
    before: tuple[Message, ...] = ()
    stored: int = 0
    batch_size: int = 64

    def prompt(self, query: Query) -> Query:
        """Put the turns before a query."""
        if not self.before:
            return query
        turns = [chat_turn("user", query)] if isinstance(query, str) else list(query)
        return [*self.before, *turns]

    def answers(self, prompts: Sequence[Query], max_new_tokens: int) -> list[str]:
        """Return the greedy answer to each prompt; see :class:`Adapted`."""
        return answers_of([self], prompts, max_new_tokens)[0]

    def logprobs(self, prompts: Sequence[Query], answers: Sequence[str]) -> list[float]:
        """Return the log-probability of each answer; see :class:`Adapted`."""
        asked = [self.prompt(query) for query in prompts]
        size = min(self.batch_size, 32)  # the logits of every token of a row are held at once
        return [
            score.total
            for score in ist.logprobs(self.model, asked, answers, self.steering, batch_size=size)
        ]


def answers_of(
    adaptations: Sequence[Prompted], prompts: Sequence[Query], max_new_tokens: int
) -> list[list[str]]:
    """Return the answers of several adaptations of one model, decoded together.

    Raises:
        OptionError: when the adaptations are of different models.
    """
    model = adaptations[0].model
    if any(one.model is not model for one in adaptations):
        raise OptionError(
            f"{', '.join(one.name for one in adaptations)} adapt different models; ask each model "
            "separately"
        )
    completions = ist.generate(
        model,
        [one.prompt(query) for one in adaptations for query in prompts],
        [one.steering for one in adaptations for _ in prompts],
        max_new_tokens=max_new_tokens,
        batch_size=adaptations[0].batch_size,
    )
    texts = [completion.text for completion in completions]
    return [texts[at : at + len(prompts)] for at in range(0, len(texts), len(prompts))]


def chat_turn(role: str, content: str) -> dict[str, str]:
    """Return a turn of a chat."""
    return {"role": role, "content": content}


def worked_examples(exchanges: Sequence[Exchange]) -> tuple[Message, ...]:
    """Return worked examples, as turns that stand before a question."""
    return tuple(
        turn
        for question, answer in exchanges
        for turn in (chat_turn("user", question), chat_turn("assistant", answer))
    )


@dataclass(frozen=True, eq=False)
class Prefixed:
    """Model with a tuned prefix.

    Args:
        name: see :class:`Adapted`.
        model: the copy whose plain twin peft wraps; its tokenizer, format and stop rule are used.
        net: peft's model.
        stored: see :class:`Adapted`.
        batch_size: number of rows run together.
    """

    name: str
    model: ist.HookedLM
    net: Any
    stored: int = 0
    batch_size: int = 64

    def answers(self, prompts: Sequence[Query], max_new_tokens: int) -> list[str]:
        """Return the greedy answer to each prompt; see :class:`Adapted`."""
        rows = self.model.tokenize(prompts)
        rule = StopRule(self.model, max_new_tokens)

        def answer_batch(batch: Sequence[list[int]]) -> list[str]:
            padded = self.model.pad(batch)
            strings = list(self.model.stop_strings)
            with torch.inference_mode():
                tokens = self.net.generate(
                    input_ids=padded.tokens,
                    attention_mask=padded.attention_mask,
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    eos_token_id=sorted(self.model.stop_ids),
                    pad_token_id=self.model.pad_id,
                    **(
                        {"stop_strings": strings, "tokenizer": self.model.tokenizer}
                        if strings
                        else {}
                    ),
                )
            return [
                _text_until_end(rule, row) for row in tokens[:, padded.tokens.shape[1] :].tolist()
            ]

        return self._run_in_batches(rows, [len(row) for row in rows], answer_batch)

    def logprobs(self, prompts: Sequence[Query], answers: Sequence[str]) -> list[float]:
        """Return the log-probability of each answer; see :class:`Adapted`."""
        rows = [
            (prompt, answer_ids(self.model, answer))
            for prompt, answer in zip(self.model.tokenize(prompts), answers, strict=True)
        ]

        def score_batch(batch: Sequence[Row]) -> list[float]:
            with torch.inference_mode():
                return answer_logprobs(self.net, self.model, batch).double().tolist()

        return self._run_in_batches(
            rows, [len(prompt) + len(answer) for prompt, answer in rows], score_batch
        )

    def _run_in_batches(
        self, rows: Sequence[Any], lengths: list[int], run: Callable[[Sequence[Any]], list[Any]]
    ) -> list[Any]:
        """Run rows in batches of similar length; return results in the order of the rows."""
        order, batches = batches_by_length(lengths, self.batch_size)
        results: dict[int, Any] = {}
        for batch in (order[part] for part in batches):
            parts = in_parts([rows[row] for row in batch], run, self.model.device)
            results |= dict(zip(batch, chain.from_iterable(parts), strict=True))
        return [results[row] for row in range(len(rows))]


def _text_until_end(rule: StopRule, tokens: Sequence[int]) -> str:
    """Return the text of an answer; tokens after its end are padding."""
    for n_tokens in range(1, len(tokens) + 1):
        answer = rule.finish(0, list(tokens[:n_tokens]))
        if answer is not None:
            return answer.text
    return ""


def answer_logprobs(net: Any, model: ist.HookedLM, rows: Sequence[Row]) -> Float[Tensor, " row"]:
    """Return the log-probability of each row's answer, in nats.

    Rows are padded on the right, because peft takes no position ids behind a prefix.

    Args:
        net: a Hugging Face model, or peft's.
        model: the model whose tokenizer and device are used.
        rows: prompts with their answers.
    """
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    tokens = torch.full((len(rows), width), model.pad_id, device=model.device)
    mask, is_answer = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(rows):
        ids = torch.tensor([*prompt, *answer], device=model.device)
        tokens[row, : len(ids)], mask[row, : len(ids)] = ids, 1
        is_answer[row, len(prompt) : len(ids)] = True
    logits = net(input_ids=tokens, attention_mask=mask, use_cache=False).logits[:, :-1]
    logprobs = torch.log_softmax(logits.float(), dim=-1).gather(-1, tokens[:, 1:, None])[:, :, 0]
    return torch.where(is_answer[:, 1:], logprobs, 0.0).sum(dim=1)


def answer_ids(model: ist.HookedLM, answer: str) -> list[int]:
    """Return the token ids of an answer, without special tokens."""
    return list(model.tokenizer(answer, add_special_tokens=False)["input_ids"])
