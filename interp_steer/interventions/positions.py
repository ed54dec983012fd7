"""Name the positions that an edit reaches, and count where a forward pass stands.

A position has two coordinates. A clock counts both, because the shape of a tensor does not tell
them:

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
"""A bound that no step reaches: the largest int32, which fits any integer tensor."""


@dataclass(frozen=True)
class Span:
    """A range of positions: those from a token index on whose step is in a half-open range.

    Args:
        first_index: the smallest token index inside.
        first_step: the smallest step inside.
        end_step: the smallest step above ``first_step`` outside.
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
    """Return the range of positions that a name stands for.

    Args:
        positions: ``"all"``, every real token; ``"prompt"``, the real tokens of the prompt;
            ``"generated"``, every position that emits a generated token, which is from the last
            prompt token on, so that the first generated token is steered too; ``"first(n)"``, the
            positions that emit the first ``n`` generated tokens; ``"last"``, the last prompt token;
            ``"not_bos"``, every real token but the first of the row. A range never holds pads.

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
    """Count the token index and the step of each row of a batch, for the hooks of a forward pass.

    Hooks see only a tensor, so the code that runs the model announces each pass here: with
    :meth:`begin` before a pass over whole rows, and with :meth:`tick` before a pass over the one
    token that every row has just generated. :meth:`keep` removes rows. To add rows, call
    :meth:`begin` for the new rows alone, run their prompts, and call :meth:`join`. Hooks read
    ``index`` and ``step``, which describe the pass that is about to run.

    Attributes:
        index: token index of every position of the pass, -1 at pads.
        step: step of every position of the pass.
        rows: for each row of the pass, its place among the rows that the hooks were made for.
        n_rows: the number of rows that the hooks must have been made for; None if any number that
            covers ``rows`` will do.
        padded: whether the pass has pads.
        changes: how often the set of rows has changed. Hooks compare this number with the one at
            which they last gathered their edits.

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
            prompt_lengths: the number of real tokens of each row that are its prompt, before the
                tokens of its answer; by default all real tokens are the prompt.
            rows: the places of these rows among the rows that the hooks were made for; by default
                the batch has all rows, in order.

        Raises:
            InterventionError: if a row ends in a pad or has only pads.
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
        """Put the rows from before the last :meth:`begin` back, ahead of the new rows.

        Raises:
            InterventionError: if the batch had no rows before.
        """
        if self._waiting is None or len(self._waiting[2]) == 0:
            raise InterventionError(
                "the batch has no earlier rows to join; call begin for the earlier rows first"
            )
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
        """Announce that only some rows stay in the batch, given their present places."""
        here = rows.to(self.index.device)
        self.index, self.step = self.index[here], self.step[here]
        self.rows = self.rows[rows.to(self.rows.device)]
        self.changes += 1


class SlotClock(Clock):
    """The clock of a batch that keeps its shape: rows take slots, and free slots idle.

    Hooks that read this clock keep the shapes of all their tensors, so that a pass with the hooks
    can be compiled.

    Args:
        slots: the number of slots.
        device: the device of the model.
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
            rows: the place of each row among the rows that the hooks were made for.
            index: the token index of each row's last token.
            step: the step of each row's last token.
        """
        self.rows[slots] = rows
        there = slots.to(self.index.device)
        self.index[there], self.step[there] = index.to(there.device), step.to(there.device)
        self.changes += 1
