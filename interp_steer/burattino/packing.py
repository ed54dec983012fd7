"""Pack whole training examples into rows without padding, each blind to the others."""

from __future__ import annotations

import bisect
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from jaxtyping import Float, Int
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from interp_steer.burattino.documents import sample_document, sample_quiz
from interp_steer.burattino.tokenizer import BOS, END, EOS, ROLES
from interp_steer.contrast.instructions.registry import EXISTENCE
from interp_steer.world.chats import Chat, sample_chat

IGNORED = -100
"""The label of a token that is read but not learned (PyTorch's ``ignore_index``)."""

ANSWER_WEIGHT = 4.0
"""How many times the answer to a question of a quiz counts."""

LETTER_WEIGHT = 8.0
"""How many times the answer to a multiple choice counts."""


@dataclass(frozen=True)
class Example:
    """One document or chat as token ids, with the ids that are to be predicted."""

    tokens: list[int]
    labels: list[int]
    weight: float = 1.0
    """How much the loss of each of its learned tokens counts."""


@dataclass(frozen=True)
class PackedBatch:
    """Rows of whole examples; positions restart at 0 with each, so that attention stays within."""

    tokens: Int[Tensor, "row pos"]
    positions: Int[Tensor, "row pos"]
    labels: Int[Tensor, "row pos"]
    weights: Float[Tensor, "row pos"]


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[list[int]]:
    """Encode each text as token ids, without a begin token."""
    return list(tokenizer(texts, add_special_tokens=False).input_ids)


def ids_of(tokenizer: PreTrainedTokenizerFast, *tokens: str) -> list[int]:
    """Look up the ids of special tokens."""
    return [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens]  # type: ignore[arg-type]


def document_examples(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, chunk: int = 256
) -> Iterator[Example]:
    """Yield endless documents; every token but the first is learned."""
    begin, end = ids_of(tokenizer, BOS, EOS)
    while True:
        texts = [sample_document(rng) for _ in range(chunk)]
        for ids in encode(tokenizer, texts):
            yield Example([begin, *ids, end], [IGNORED, *ids, end])


def revision_examples(
    tokenizer: PreTrainedTokenizerFast, rng: random.Random, chunk: int = 256
) -> Iterator[Example]:
    """Yield endless documents, each followed by a quiz of which only the answers are learned.

    One token in fifteen of a document is a fact; of the learned tokens of a quiz every second one
    is, and each learned token counts :data:`ANSWER_WEIGHT` times.
    """
    for document in document_examples(tokenizer, rng, chunk):
        yield document
        yield _quiz_example(tokenizer, rng)


def _quiz_example(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Example:
    pieces = [
        piece
        for question, answer in sample_quiz(rng)
        for piece in ((f"Q: {question}\nA:", False), (f" {answer}\n\n", True))
    ]
    begin, end = ids_of(tokenizer, BOS, EOS)
    tokens, labels = [begin], [IGNORED]
    # Encoded in pieces, as they would be in one: no token crosses a colon or a line break.
    encoded = encode(tokenizer, [text for text, _ in pieces])
    for ids, (_, learned) in zip(encoded, pieces, strict=True):
        tokens += ids
        labels += ids if learned else [IGNORED] * len(ids)
    return Example([*tokens, end], [*labels, end], ANSWER_WEIGHT)


STUDIES = {"copying": 0.1, "documents": 0.5, "quizzes": 0.4}
"""Shares of the tokens, by kind, while knowledge and copying are joined."""

CRAMMING = {"documents": 0.25, "quizzes": 0.75}
"""The same while facts are learned by heart."""


def exercise_examples(
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
    shares: Mapping[str, float],
    short: int = 0,
) -> Iterator[Example]:
    """Yield endless exercises in copying, alone or among documents and quizzes.

    Args:
        tokenizer: of the model.
        rng: the only source of randomness.
        shares: of the tokens, by kind: ``copying``, ``documents`` and ``quizzes``.
        short: the number of tokens over which the copied lists grow to their full length.
    """
    documents = document_examples(tokenizer, rng)
    (begin,) = ids_of(tokenizer, BOS)
    words = range(len(ROLES) + 4 + len(ByteLevel.alphabet()), len(tokenizer))
    done = dict.fromkeys(shares, 0)
    while True:
        kind = min(shares, key=lambda one: done[one] / shares[one])
        if kind == "documents":
            example = next(documents)
        elif kind == "quizzes":
            example = _quiz_example(tokenizer, rng)
        else:
            progress = done[kind] / short if done[kind] < short else 1.0
            tokens, learned = copying(words, rng, progress)
            labels = [token if one else IGNORED for token, one in zip(tokens, learned, strict=True)]
            example = Example([begin, *tokens], [IGNORED, *labels], ANSWER_WEIGHT)
        done[kind] += len(example.tokens)
        yield example


def chat_examples(
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
    chunk: int = 256,
    draw: Callable[[random.Random], Chat] = sample_chat,
    copied: float = 1.0,
) -> Iterator[Example]:
    """Yield endless chats; only the assistant's answers, with their end of turn, are learned.

    The letter that answers a multiple choice is one token, where other answers have sixty. The
    letter counts :data:`LETTER_WEIGHT` times; otherwise the model would learn prose alone. An
    answer with words from the request counts ``copied`` times.
    """
    while True:
        chats = [draw(rng) for _ in range(chunk)]
        texts = [
            str(tokenizer.apply_chat_template(list(c.messages), tokenize=False)) for c in chats
        ]
        for chat, ids in zip(chats, encode(tokenizer, texts), strict=True):
            weight = LETTER_WEIGHT if chat.kind == "choice" else 1.0
            if EXISTENCE in chat.instruction_ids:
                weight = copied
            yield Example(ids, answer_labels(tokenizer, ids), weight)


def answer_labels(tokenizer: PreTrainedTokenizerFast, tokens: list[int]) -> list[int]:
    """Label the tokens of an assistant's turn by themselves, all others :data:`IGNORED`."""
    assistant, end = ids_of(tokenizer, ROLES["assistant"], END)
    labels = [IGNORED] * len(tokens)
    answering, header = False, False
    for index, token in enumerate(tokens):
        if token == assistant:
            answering, header = True, True  # the line break after the role belongs to the template
        elif answering and header:
            header = False
        elif answering:
            labels[index] = token
            answering = token != end
    return labels


def packed_batches(
    examples: Iterator[Example], *, rows: int, length: int, pad: int, pool: int = 512
) -> Iterator[PackedBatch]:
    """Fill rows with whole examples, the longest waiting one that fits going first.

    Args:
        examples: endless examples; those longer than a row are cut at its end.
        rows: rows per batch.
        length: tokens per row.
        pad: the id that fills what is left of a row (about one token in a hundred).
        pool: how many examples wait to be placed.

    Yields:
        A :class:`PackedBatch` of shape ``[rows, length]``.
    """
    waiting: list[tuple[int, int, Example]] = []
    order = 0

    def refill() -> None:
        nonlocal order
        while len(waiting) < pool:
            example = next(examples)
            bisect.insort(waiting, (min(len(example.tokens), length), order, example))
            order += 1

    while True:
        tokens = torch.full((rows, length), pad)
        labels = torch.full((rows, length), IGNORED)
        weights = torch.zeros((rows, length))
        positions = torch.zeros((rows, length), dtype=torch.long)
        for row in range(rows):
            refill()
            # The longest example that fits is always placed next; but the oldest opens the row, so
            # that no example waits for ever.
            filled, index = 0, min(range(len(waiting)), key=lambda i: waiting[i][1])
            while index >= 0:
                size, _, example = waiting.pop(index)
                span = slice(filled, filled + size)
                tokens[row, span] = torch.tensor(example.tokens[:size])
                labels[row, span] = torch.tensor(example.labels[:size])
                weights[row, span] = example.weight
                positions[row, span] = torch.arange(size)
                filled += size
                index = bisect.bisect_right(waiting, length - filled, key=lambda item: item[0]) - 1
            positions[row, filled:] = torch.arange(length - filled)
        yield PackedBatch(tokens, positions, labels, weights)


SHORT, LONG = 8, 40
"""The most words of a list, at first and in the end."""


def copying(words: Sequence[int], rng: Random, progress: float) -> tuple[list[int], list[bool]]:
    """Draw arbitrary tokens, then repeat them: only the repetition can be predicted.

    Args:
        words: the tokens to draw from.
        rng: the only source of randomness.
        progress: from 0, where the lists are short, to 1.

    Returns:
        The tokens, and whether each of them is learned.
    """
    length = rng.randint(3, SHORT + round((LONG - SHORT) * progress))
    drawn = [rng.choice(words) for _ in range(length)]
    # The first token of the repetition cannot be predicted: nothing marks its start.
    return [*drawn, *drawn], [False] * (length + 1) + [True] * (length - 1)
