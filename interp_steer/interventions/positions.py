"""Which positions an edit reaches, and the clock that says where a forward pass stands.

A position has two coordinates, both counted and never guessed from the shape of a tensor:

- its *token index*, 0 for the first real token of the row (the BOS, where the model has one), and
  -1 for a pad;
- its *step*: step ``i >= 0`` is the position whose output emits generated token ``i``. The last
  token of a prompt of ``T`` tokens is therefore step 0, at token index ``T - 1``; the token that
  was generated first is step 1, at token index ``T``; earlier prompt tokens have negative steps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp_steer.errors import InterventionError

ENDLESS = 2**31 - 1
"""A bound that no step reaches (the largest int32, so that it fits any integer tensor)."""


@dataclass(frozen=True)
class Span:
    """A half-open range of token indices and steps; a position is in it when both are.

    Args:
        first_index: smallest token index that is in.
        first_step: smallest step that is in.
        end_step: smallest step above ``first_step`` that is out.
    """

    first_index: int = 0
    first_step: int = -ENDLESS
    end_step: int = ENDLESS


_NAMED = {
    "all": Span(),
    "prompt": Span(end_step=1),
    "generated": Span(first_step=0),
    "not_bos": Span(first_index=1),
    "last": Span(first_step=0, end_step=1),
}


def span(positions: str) -> Span:
    """The range of positions that a name stands for.

    Args:
        positions: ``"all"``, every real token; ``"prompt"``, the real tokens of the prompt;
            ``"generated"``, every position that emits a generated token, hence from the last prompt
            token on, so that the first generated token is steered too; ``"first(n)"``, the
            positions that emit the first ``n`` generated tokens; ``"last"``, the last prompt token;
            ``"not_bos"``, every real token but the first of the row. Pads are in none of them.

    Raises:
        InterventionError: for any other name.

    Example:
        >>> span("first(3)")
        Span(first_index=0, first_step=0, end_step=3)
    """
    if not isinstance(positions, str):
        match = None
    elif positions in _NAMED:
        return _NAMED[positions]
    else:
        match = re.fullmatch(r"first\(([1-9][0-9]{0,8})\)", positions)
    if match is None:
        raise InterventionError(
            f"unknown positions {positions!r}; use one of {', '.join(_NAMED)} or first(n) "
            "with n >= 1, such as first(3)"
        )
    return Span(first_step=0, end_step=int(match[1]))


class Clock:
    """Where each row of a batch stands, told by whoever runs the model.

    The runner calls :meth:`begin` before a pass over whole rows, and :meth:`tick` before each pass
    over the one token that every row has just generated. Rows leave by :meth:`keep`; others take
    their place by a :meth:`begin` of their own, then :meth:`join`. Hooks read ``index`` and
    ``step``, which describe the pass that is about to run.

    Attributes:
        index: token index of every position of the pass, -1 at pads.
        step: step of every position of the pass.
        rows: for each row of the pass, its place among the rows that the hooks were made for.
        n_rows: for how many rows the hooks must have been made; None for enough of them.
        padded: whether the pass has pads.
        changes: how often the set of rows has changed; hooks compare it to their own.

    Example:
        >>> clock = Clock()
        >>> clock.begin(torch.tensor([[0, 1, 1], [1, 1, 1]]))
        >>> clock.step
        tensor([[-2, -1,  0],
                [-2, -1,  0]])
    """

    def __init__(self) -> None:
        self.index: Int[Tensor, "row pos"] = torch.zeros(0, 0, dtype=torch.int64)
        self.step: Int[Tensor, "row pos"] = self.index
        self.rows: Int[Tensor, " row"] = torch.zeros(0, dtype=torch.int64)
        self.n_rows: int | None = None
        self.padded = False
        self.changes = 0
        self._waiting: tuple[Tensor, Tensor, Tensor] | None = None

    def begin(
        self,
        mask: Int[Tensor, "row pos"] | Bool[Tensor, "row pos"],
        prompt_lengths: Int[Tensor, " row"] | None = None,
        rows: Int[Tensor, " row"] | None = None,
    ) -> None:
        """Announce a pass over whole rows, left-padded.

        Args:
            mask: 1 at real tokens, 0 at pads.
            prompt_lengths: how many of the real tokens of each row are its prompt, the rest being
                tokens of the answer; by default all of them.
            rows: the places of these rows among those that the hooks were made for; by default
                they are all of them.

        Raises:
            InterventionError: when a row ends in a pad, or has none but pads.
        """
        real = mask.bool()
        if real.shape[1] == 0 or not bool(real[:, -1].all()):
            raise InterventionError(
                f"a row of the mask, of shape {tuple(mask.shape)}, ends in a pad; "
                "pad on the left, with at least one real token per row"
            )
        self._waiting = (self.index[:, -1:], self.step[:, -1:], self.rows)
        self.index = torch.where(real, real.long().cumsum(1) - 1, -1)
        lengths = real.sum(1) if prompt_lengths is None else prompt_lengths.to(real.device)
        self.step = self.index - (lengths[:, None] - 1)
        self.n_rows = len(mask) if rows is None else None
        self.rows = torch.arange(len(mask)) if rows is None else rows
        self.padded = not bool(real.all())
        self.changes += 1

    def join(self) -> None:
        """Put the rows that were there before the last :meth:`begin` back, ahead of its own.

        Raises:
            InterventionError: when no rows were there.
        """
        if self._waiting is None or len(self._waiting[2]) == 0:
            raise InterventionError("there are no earlier rows to join; call begin for them first")
        index, step, rows = self._waiting
        self.index = torch.cat([index, self.index[:, -1:]])
        self.step = torch.cat([step, self.step[:, -1:]])
        self.rows = torch.cat([rows, self.rows])
        self._waiting, self.padded = None, False
        self.changes += 1

    def tick(self) -> None:
        """Announce a pass over the token that each row has just generated."""
        self.index = self.index[:, -1:] + 1
        self.step = self.step[:, -1:] + 1
        self.padded = False

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Announce that only these rows, by their present places, stay in the batch."""
        place = rows.to(self.index.device)
        self.index, self.step = self.index[place], self.step[place]
        self.rows = self.rows[rows.to(self.rows.device)]
        self.changes += 1


class SlotClock(Clock):
    """The clock of a batch that keeps its shape: rows take slots, and a free slot idles.

    Hooks that read it keep the shape of all that they compute with, so that a pass can be compiled
    with them in it.

    Args:
        slots: how many.
        device: where the pass runs.
    """

    def __init__(self, slots: int, device: torch.device) -> None:
        super().__init__()
        self.index = torch.zeros(slots, 1, dtype=torch.int64, device=device)
        self.step = torch.zeros_like(self.index)
        self.rows = torch.zeros(slots, dtype=torch.int64)

    def seat(
        self,
        slots: Int[Tensor, " row"],
        rows: Int[Tensor, " row"],
        index: Int[Tensor, "row 1"],
        step: Int[Tensor, "row 1"],
    ) -> None:
        """Announce that rows take slots.

        Args:
            slots: the slot of each row.
            rows: their places among the rows that the hooks were made for.
            index: the token index of each row's last token.
            step: its step.
        """
        self.rows[slots] = rows
        there = slots.to(self.index.device)
        self.index[there], self.step[there] = index.to(there.device), step.to(there.device)
        self.changes += 1
