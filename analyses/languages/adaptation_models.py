"""Models as adapted, by steering or by its rivals, all of which answer and score in one way.

Steering, a system prompt, worked examples and a merged LoRA leave a :class:`HookedLM` that
:func:`interp_steer.generate` runs: :class:`Prompted`. A tuned prefix is a cache that no prompt can
stand for, so that peft generates from it: :class:`Prefixed`.
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
from interp_steer.generation.decoding import StopRule
from interp_steer.models.batching import batches_by_length, in_parts
from interp_steer.models.prompts import Message, Query

Exchange = tuple[str, str]
"""A question and the answer that is wanted."""

Row = tuple[list[int], list[int]]
"""The token ids of a prompt, and those of its answer."""


class Adapted(Protocol):
    """A model after an adaptation."""

    @property
    def name(self) -> str:
        """What adapted it."""
        ...

    @property
    def stored(self) -> int:
        """How many numbers are kept beside the model's own weights."""
        ...

    def answers(self, prompts: Sequence[Query], max_new_tokens: int) -> list[str]:
        """The greedy answer to each prompt, ended by the model's own stop rule."""
        ...

    def logprobs(self, prompts: Sequence[Query], answers: Sequence[str]) -> list[float]:
        """The natural logarithm of the probability of each given answer, in nats."""
        ...


@dataclass(frozen=True, eq=False)
class Prompted:
    """A model that answers under an intervention, behind turns that come before every question.

    Args:
        name: see :class:`Adapted`.
        model: answers.
        steering: acts on it meanwhile.
        before: a system message, or worked examples.
        stored: see :class:`Adapted`.
        batch_size: rows run together.

    Example:
        >>> Prompted("system prompt", model, before=(told("system", "Answer in Italian."),))
    """

    name: str
    model: ist.HookedLM
    steering: ist.Intervention = ist.unsteered
    before: tuple[Message, ...] = ()
    stored: int = 0
    batch_size: int = 64

    def prompt(self, query: Query) -> Query:
        """What the model is asked."""
        if not self.before:
            return query
        turns = [told("user", query)] if isinstance(query, str) else list(query)
        return [*self.before, *turns]

    def answers(self, prompts: Sequence[Query], max_new_tokens: int) -> list[str]:
        """See :class:`Adapted`."""
        return answers_of([self], prompts, max_new_tokens)[0]

    def logprobs(self, prompts: Sequence[Query], answers: Sequence[str]) -> list[float]:
        """See :class:`Adapted`."""
        asked = [self.prompt(query) for query in prompts]
        size = min(self.batch_size, 32)  # every token of a row has its logits here
        return [
            score.total
            for score in ist.logprobs(self.model, asked, answers, self.steering, batch_size=size)
        ]


def answers_of(
    several: Sequence[Prompted], prompts: Sequence[Query], max_new_tokens: int
) -> list[list[str]]:
    """What several adaptations of one model answer, decoded together.

    Raises:
        OptionError: when they are not of one model.
    """
    model = several[0].model
    if any(one.model is not model for one in several):
        raise OptionError(
            f"{', '.join(one.name for one in several)} are not of one model; ask each by itself"
        )
    found = ist.generate(
        model,
        [one.prompt(query) for one in several for query in prompts],
        [one.steering for one in several for _ in prompts],
        max_new_tokens=max_new_tokens,
        batch_size=several[0].batch_size,
    )
    texts = [completion.text for completion in found]
    return [texts[at : at + len(prompts)] for at in range(0, len(texts), len(prompts))]


def told(role: str, content: str) -> dict[str, str]:
    """A turn of a chat."""
    return {"role": role, "content": content}


def worked(exchanges: Sequence[Exchange]) -> tuple[Message, ...]:
    """Worked examples, as turns that come before a question."""
    return tuple(
        turn
        for question, answer in exchanges
        for turn in (told("user", question), told("assistant", answer))
    )


@dataclass(frozen=True, eq=False)
class Prefixed:
    """A model with a tuned prefix.

    Args:
        name: see :class:`Adapted`.
        model: the copy whose plain twin peft wraps; its tokenizer, format and stop rule.
        net: peft's model.
        stored: see :class:`Adapted`.
        batch_size: rows run together.
    """

    name: str
    model: ist.HookedLM
    net: Any
    stored: int = 0
    batch_size: int = 64

    def answers(self, prompts: Sequence[Query], max_new_tokens: int) -> list[str]:
        """See :class:`Adapted`."""
        rows = self.model.tokenize(prompts)
        rule = StopRule(self.model, max_new_tokens)

        def answered(batch: Sequence[list[int]]) -> list[str]:
            padded = self.model.pad(batch)
            strings = list(self.model.stop_strings)
            with torch.inference_mode():
                found = self.net.generate(
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
            return [_ended(rule, row) for row in found[:, padded.tokens.shape[1] :].tolist()]

        return self._batched(rows, [len(row) for row in rows], answered)

    def logprobs(self, prompts: Sequence[Query], answers: Sequence[str]) -> list[float]:
        """See :class:`Adapted`."""
        rows = [
            (prompt, answer_ids(self.model, answer))
            for prompt, answer in zip(self.model.tokenize(prompts), answers, strict=True)
        ]

        def scored(batch: Sequence[Row]) -> list[float]:
            with torch.inference_mode():
                return answer_logprobs(self.net, self.model, batch).double().tolist()

        return self._batched(rows, [len(prompt) + len(answer) for prompt, answer in rows], scored)

    def _batched(
        self, rows: Sequence[Any], lengths: list[int], run: Callable[[Sequence[Any]], list[Any]]
    ) -> list[Any]:
        """Run rows in batches of like length; results in the order of the rows."""
        order, batches = batches_by_length(lengths, self.batch_size)
        found: dict[int, Any] = {}
        for batch in (order[part] for part in batches):
            parts = in_parts([rows[row] for row in batch], run, self.model.device)
            found |= dict(zip(batch, chain.from_iterable(parts), strict=True))
        return [found[row] for row in range(len(rows))]


def _ended(rule: StopRule, tokens: Sequence[int]) -> str:
    """The text of an answer, of whose tokens those after its end are padding."""
    for n_tokens in range(1, len(tokens) + 1):
        answer = rule.finish(0, list(tokens[:n_tokens]))
        if answer is not None:
            return answer.text
    return ""


def answer_logprobs(net: Any, model: ist.HookedLM, rows: Sequence[Row]) -> Float[Tensor, " row"]:
    """The log-probability of each row's answer, in nats.

    Rows are padded on the right: behind a prefix peft takes no position ids.

    Args:
        net: a Hugging Face model, or peft's.
        model: its tokenizer and device.
        rows: prompts with their answers.
    """
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    tokens = torch.full((len(rows), width), model.pad_id, device=model.device)
    mask, answered = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(rows):
        ids = torch.tensor([*prompt, *answer], device=model.device)
        tokens[row, : len(ids)], mask[row, : len(ids)] = ids, 1
        answered[row, len(prompt) : len(ids)] = True
    logits = net(input_ids=tokens, attention_mask=mask, use_cache=False).logits[:, :-1]
    each = torch.log_softmax(logits.float(), dim=-1).gather(-1, tokens[:, 1:, None])[:, :, 0]
    return torch.where(answered[:, 1:], each, 0.0).sum(dim=1)


def answer_ids(model: ist.HookedLM, answer: str) -> list[int]:
    """The token ids of an answer, without special tokens."""
    return list(model.tokenizer(answer, add_special_tokens=False)["input_ids"])
