"""Weights that are found while a model generates: clean, probe and realised streams of each row.

A row whose intervention has dynamic schedules is run several times over the same tokens: once
without those edits, once as a probe for each of the properties that they stand for, and once as it
is realised. What the first two predict at a position says how strongly the last is steered there
(Scalena, Sarti and Nissim 2024, section 3). With a cache each stream runs each position once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_steer.generation.row_batches import Answer, Cached, Uncached
from interp_steer.interventions.hooks import DynamicWeights
from interp_steer.interventions.intervention import Intervention, row_hooks
from interp_steer.interventions.positions import Clock
from interp_steer.interventions.schedules import Dynamic
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.forward import Forward, Through, forward_under
from interp_steer.models.hooked_lm import HookedLM, Hooks
from interp_steer.models.kv_cache import DecodingCache


class ProbeStreams:
    """What is run beside some rows to find their weights.

    Args:
        of: the interventions of the rows.

    Attributes:
        steering: of every stream; of each row that has dynamic schedules first the clean one, then
            a probe for each property.
        owner: the row of every stream.
        numbers: the streams of every row.
    """

    def __init__(self, of: Sequence[Intervention]) -> None:
        known: dict[int, list[Intervention]] = {}
        self._of = of
        self.steering: list[Intervention] = []
        self.owner: list[int] = []
        self.numbers: list[range] = []
        for row, one in enumerate(of):
            streams = known.setdefault(id(one), _streams(one))
            self.numbers.append(range(len(self.steering), len(self.steering) + len(streams)))
            self.steering += streams
            self.owner += [row] * len(streams)

    def dials(self, steps: int, device: torch.device) -> DynamicWeights:
        """Dials for the rows, not yet turned."""
        return DynamicWeights(
            len(self._of), max(len(one.dynamic) for one in self._of), steps, device
        )

    def found(
        self,
        streams: Sequence[int],
        logits: Float[Tensor, "stream *step vocabulary"],
    ) -> Iterator[FoundWeights]:
        """The weights that the predictions of some streams stand for.

        Args:
            streams: whole sets of them, in any order.
            logits: what each predicts.
        """
        place = {stream: number for number, stream in enumerate(streams)}
        by_schedule: dict[Dynamic, list[tuple[int, int]]] = {}
        for row in dict.fromkeys(self.owner[stream] for stream in streams):
            for dial, (_, schedule) in enumerate(self._of[row].dynamic):
                by_schedule.setdefault(schedule, []).append((row, dial))
        for schedule, asked in by_schedule.items():
            clean = [place[self.numbers[row][0]] for row, _ in asked]
            probe = [place[self.numbers[row][1 + dial]] for row, dial in asked]
            apart = schedule.divergence(logits[clean], logits[probe])
            row, dial = torch.tensor(asked, device=logits.device).T
            yield FoundWeights(row, dial, apart, schedule.weights(apart))


@dataclass(frozen=True, eq=False)
class FoundWeights:
    """Weights of some rows and dials, with the divergences that they come from."""

    row: Int[Tensor, " each"]
    dial: Int[Tensor, " each"]
    divergence: Float[Tensor, " each *step"]
    weight: Float[Tensor, " each *step"]


def _streams(intervention: Intervention) -> list[Intervention]:
    if not intervention.dynamic:
        return []
    return [_only(intervention, None), *(_only(intervention, one) for one in intervention.dynamic)]


def _only(intervention: Intervention, probed: tuple[str, Dynamic] | None) -> Intervention:
    """What does not have to be found, and one property with the weight of its probe."""
    edits = []
    for edit in intervention.edits:
        if not isinstance(edit.schedule, Dynamic):
            edits.append(edit)
        elif (edit.direction.name, edit.schedule) == probed:
            edits.append(replace(edit, schedule=edit.schedule.probing))
    return Intervention(tuple(edits))


class Probed:
    """Rows that are being decoded, whose weights are found anew before each of their steps.

    Args:
        realised: the rows themselves.
        probing: their streams, numbered as in ``streams``.
        streams: says which streams are whose.
        dials: are turned to the weights that are found.
    """

    def __init__(
        self, realised: Uncached, probing: Uncached, streams: ProbeStreams, dials: DynamicWeights
    ) -> None:
        self._realised, self._probing = realised, probing
        self._streams, self._dials = streams, dials

    @property
    def rows(self) -> list[int]:
        """The rows that are being decoded."""
        return self._realised.rows

    def admit(self, rows: list[int], answers: list[Answer]) -> Float[Tensor, "row vocabulary"]:
        """Take rows in; return the logits of their first tokens, or those of every row's next."""
        streams = [stream for row in rows for stream in self._streams.numbers[row]]
        if streams:
            self._turn(self._probing.admit(streams, self._shared(answers)), answers)
        elif not isinstance(self._realised, Cached):  # then all rows are stepped, with or without
            self._step_streams(answers)
        return self._realised.admit(rows, answers)

    def step(self, answers: list[Answer]) -> Float[Tensor, "row vocabulary"]:
        """Return the logits of every row's next token."""
        self._step_streams(answers)
        return self._realised.step(answers)

    def release(self, ended: Iterable[int]) -> None:
        """Let rows go."""
        gone = list(ended)
        self._probing.release(stream for row in gone for stream in self._streams.numbers[row])
        self._realised.release(gone)

    def _step_streams(self, answers: list[Answer]) -> None:
        if self._probing.rows:
            self._turn(self._probing.step(self._shared(answers)), answers)

    def _shared(self, answers: list[Answer]) -> list[Answer]:
        """The answer of each stream, which is that of its row."""
        return [answers[row] for row in self._streams.owner]

    def _turn(self, logits: Float[Tensor, "stream vocabulary"], answers: list[Answer]) -> None:
        for found in self._streams.found(self._probing.rows[-len(logits) :], logits):
            step = torch.tensor([len(answers[row].tokens) for row in found.row.tolist()])
            self._dials.set(found.row, found.dial, step.to(found.row.device), found.weight)


@contextmanager
def probed_rows(
    model: HookedLM,
    prompts: list[list[int]],
    steering: Sequence[Intervention],
    through: Through | None,
    kind: type[Uncached],
    max_new_tokens: int,
) -> Iterator[Callable[[int], Probed]]:
    """What makes an empty batch of rows whose weights are found.

    Args:
        model: the model.
        prompts: the token ids of all rows that are to be decoded.
        steering: the intervention of each row.
        through: see :func:`interp_steer.models.forward.forward_under`.
        kind: with a cache, or whole at every step.
        max_new_tokens: the most tokens of an answer.
    """
    streams = ProbeStreams(steering)
    dials = streams.dials(max_new_tokens, model.device)
    clocks = {"probing": Clock(), "realised": Clock()}
    turns = _HookSwitch()
    hooks = [
        *turns.taken("probing", row_hooks(streams.steering, clocks["probing"])),
        *turns.taken("realised", row_hooks(steering, clocks["realised"], dials)),
    ]
    asked = [prompts[row] for row in streams.owner]
    with forward_under(model, hooks, through) as forward:
        passes = {name: partial(turns.run, name, forward) for name in clocks}

        def empty(size: int) -> Probed:
            return Probed(
                kind(model, prompts, passes["realised"], clocks["realised"]),
                kind(model, asked, passes["probing"], clocks["probing"]),
                streams,
                dials,
            )

        yield empty


class _HookSwitch:
    """Two sets of hooks on one model, of which one acts at a time."""

    def __init__(self) -> None:
        self._now = ""

    def taken(self, name: str, hooks: Hooks) -> Hooks:
        return [(point, partial(self._act, name, function)) for point, function in hooks]

    def run(
        self,
        name: str,
        forward: Forward,
        batch: PaddedBatch,
        cache: DecodingCache | None,
        keep: int,
    ) -> Float[Tensor, "batch kept vocabulary"] | None:
        self._now = name
        return forward(batch, cache, keep)

    def _act(
        self, name: str, function: Callable[..., Any], activation: Tensor, hook: Any = None
    ) -> Tensor:
        return function(activation, hook) if name == self._now else activation
