"""Define a prompt that is to be answered under an intervention, and its answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from interp_steer.interventions.intervention import Intervention


@dataclass(frozen=True, eq=False)
class Request:
    """A prompt, and the intervention that acts on the model while the prompt is answered."""

    tokens: list[int]
    """The token ids of the prompt."""
    steering: Intervention
    """The intervention."""
    prompt: str = ""
    """The rendered prompt; empty where only its tokens are known."""
    applied: str = ""
    """The canonical line of the intervention; empty where nobody records it."""
    uniform: Float[Tensor, " step"] | None = None
    """The numbers in [0, 1) that decide the sampled tokens; None for greedy decoding."""

    def under(self, steering: Intervention) -> Request:
        """Return the same prompt under another intervention."""
        return replace(self, steering=steering, applied=str(steering))


@dataclass(frozen=True)
class Answer:
    """An answer: generated, read from a ledger, or given to be scored.

    Args:
        text: the answer without special tokens and without the stop string that ended it; empty for
            an answer that was given as token ids.
        tokens: every token id, including the token that ended the answer.
        finish_reason: ``"stop"`` at a stop token or stop string, ``"length"`` at the limit,
            ``"settled"`` where an early stop ended it, ``"given"`` for an answer to be scored.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: str

    @classmethod
    def given(cls, tokens: tuple[int, ...], text: str = "") -> Answer:
        """Make an answer that the model did not generate and that is to be scored."""
        return cls(text, tokens, "given")
