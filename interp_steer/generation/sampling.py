"""Draw tokens with random numbers that belong to a row, and not to its batch."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_steer.errors import GenerationError


@dataclass(frozen=True)
class Sampling:
    """Draw each token from the model's distribution.

    Args:
        temperature: the divisor of the logits; greater than 0. For greedy decoding give
            ``sampling=None`` instead.
        top_p: draw from the smallest set of tokens whose probabilities reach this share, in (0, 1].
        seed: decides, with the tokens of the prompt, every draw of a row.

    Raises:
        GenerationError: when a number is out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise GenerationError(
                f"temperature is {self.temperature}; give a finite number above 0, "
                "or sampling=None to decode greedily"
            )
        if not 0 < self.top_p <= 1:
            raise GenerationError(f"top_p is {self.top_p}; give a number above 0 and at most 1")
        if not isinstance(self.seed, int):
            raise GenerationError(f"seed is {self.seed!r}; give an integer")


def draw_uniform(
    prompts: Sequence[Sequence[int]], applied: Sequence[str], n_steps: int, sampling: Sampling
) -> Float[Tensor, "row step"]:
    """Draw the uniform numbers in [0, 1) that decide each row's tokens.

    The numbers depend on the seed and the prompt of the row, and not on the other rows or their
    order: two interventions on one prompt get the same numbers, so that their answers differ by the
    intervention alone. A prompt that is repeated with the same intervention gets new numbers.

    Args:
        prompts: token ids of each row.
        applied: the canonical line of each row's intervention.
        n_steps: the most tokens of an answer.
        sampling: has the seed.
    """
    seen: Counter[tuple[tuple[int, ...], str]] = Counter()
    numbers = torch.empty(len(prompts), n_steps)
    for row, (prompt, line) in enumerate(zip(prompts, applied, strict=True)):
        key = (tuple(prompt), line)
        digest = hashlib.sha256(repr((sampling.seed, key[0], seen[key])).encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))
        numbers[row] = torch.rand(n_steps, generator=generator)
        seen[key] += 1
    return numbers


def sample(
    logits: Float[Tensor, "row vocabulary"], uniform: Float[Tensor, " row"], sampling: Sampling
) -> Int[Tensor, " row"]:
    """Draw a token per row by inverting the cumulative distribution at a uniform number.

    Args:
        logits: of the next token.
        uniform: a number in [0, 1) per row.
        sampling: has the temperature and ``top_p``.
    """
    probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        ranked, order = probabilities.sort(dim=-1, descending=True)
        # A token is in the nucleus when the likelier tokens have not yet reached top_p.
        outside = ranked.cumsum(-1) - ranked >= sampling.top_p
        probabilities = probabilities.scatter(-1, order, ranked.masked_fill(outside, 0.0))
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1:]
    # The point is strictly below the total, whatever the rounding, so that the token that it
    # selects has a probability above 0.
    point = torch.minimum(uniform[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, point, right=True)[:, 0]


@dataclass(frozen=True)
class Sampler:
    """Draws the tokens of each row by the uniform numbers of the row."""

    sampling: Sampling
    uniform: Float[Tensor, "row step"]
    """The numbers, from :func:`draw_uniform`."""

    def __call__(
        self,
        logits: Float[Tensor, "active vocabulary"],
        rows: Int[Tensor, " active"],
        steps: Int[Tensor, " active"],
    ) -> Int[Tensor, " active"]:
        """Draw a token for each active row, given its number and its count of tokens."""
        return sample(logits, self.uniform[rows, steps], self.sampling)
