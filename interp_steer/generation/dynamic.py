"""Compute the weights of dynamic schedules while a model generates.

A dynamic schedule steers a property only as strongly as the model needs it at each step (Scalena,
Sarti and Nissim 2024, section 3). The need is measured by a comparison of two predictions of the
next token: without the property (*clean*), and with the property at a fixed, strong weight (the
*probe*). Where they hardly differ, the model already does what the probe would make it do, and the
weight is small.

A row with dynamic schedules is therefore run as several *streams* over the same tokens:

1. the clean stream, without the edits that have a dynamic schedule;
2. one probe stream per property with a dynamic schedule;
3. the realised stream, whose edits use the weights that streams 1 and 2 gave. Its logits choose the
   next token, which all streams of the row then share.

At every step the streams 1 and 2 are run first. Their divergence sets the weights of the step in a
table (:class:`~interp_steer.interventions.hooks.DynamicWeights`), which the hooks of stream 3 read.
With a cache each stream runs each position once.
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

from interp_steer.generation.row_batches import Cached, Uncached
from interp_steer.interventions.hooks import DynamicWeights
from interp_steer.interventions.intervention import Intervention, row_hooks
from interp_steer.interventions.positions import Clock
from interp_steer.interventions.schedules import Dynamic
from interp_steer.models.batching import PaddedBatch
from interp_steer.models.forward import Forward, Through, forward_under
from interp_steer.models.hooked_lm import HookedLM, Hooks
from interp_steer.models.kv_cache import DecodingCache


class ProbeStreams:
    """The clean stream and the probe streams of some rows.

    Args:
        steering: the intervention of every row.

    Attributes:
        steering: the intervention of every stream; for each row with dynamic schedules first the
            clean stream, then one probe per property.
        owner: the row of every stream.
        numbers: the streams of every row.
    """

    def __init__(self, steering: Sequence[Intervention]) -> None:
        known: dict[int, list[Intervention]] = {}
        self._rows = steering
        self.steering: list[Intervention] = []
        self.owner: list[int] = []
        self.numbers: list[range] = []
        for row, intervention in enumerate(steering):
            streams = known.setdefault(id(intervention), _split_into_streams(intervention))
            self.numbers.append(range(len(self.steering), len(self.steering) + len(streams)))
            self.steering += streams
            self.owner += [row] * len(streams)

    def make_table(self, steps: int, device: torch.device) -> DynamicWeights:
        """Make the table of weights of the rows, still empty."""
        most = max(len(intervention.dynamic) for intervention in self._rows)
        return DynamicWeights(len(self._rows), most, steps, device)

    def find_weights(
        self,
        streams: Sequence[int],
        logits: Float[Tensor, "stream *step vocabulary"],
    ) -> Iterator[FoundWeights]:
        """Compute weights from the predictions of some streams.

        Args:
            streams: the numbers of the streams, in any order; all streams of each row.
            logits: the predictions of each stream.

        Yields:
            The weights of all rows and properties that share a schedule.
        """
        place = {stream: number for number, stream in enumerate(streams)}
        by_schedule: dict[Dynamic, list[tuple[int, int]]] = {}
        for row in dict.fromkeys(self.owner[stream] for stream in streams):
            for dial, (_, schedule) in enumerate(self._rows[row].dynamic):
                by_schedule.setdefault(schedule, []).append((row, dial))
        for schedule, rows_and_dials in by_schedule.items():
            clean = [place[self.numbers[row][0]] for row, _ in rows_and_dials]
            probe = [place[self.numbers[row][1 + dial]] for row, dial in rows_and_dials]
            divergence = schedule.divergence(logits[clean], logits[probe])
            row, dial = torch.tensor(rows_and_dials, device=logits.device).T
            yield FoundWeights(row, dial, divergence, schedule.weights(divergence))


@dataclass(frozen=True, eq=False)
class FoundWeights:
    """Weights of dynamic schedules, with the divergences that they were computed from."""

    row: Int[Tensor, " each"]
    """The row of each weight."""
    dial: Int[Tensor, " each"]
    """The place of each weight's property in ``intervention.dynamic`` of its row."""
    divergence: Float[Tensor, " each *step"]
    """The divergence of the probe from the clean prediction, in nats."""
    weight: Float[Tensor, " each *step"]
    """The weights."""


def _split_into_streams(intervention: Intervention) -> list[Intervention]:
    if not intervention.dynamic:
        return []
    probes = (_edits_for_stream(intervention, probed) for probed in intervention.dynamic)
    return [_edits_for_stream(intervention, None), *probes]


def _edits_for_stream(
    intervention: Intervention, probed: tuple[str, Dynamic] | None
) -> Intervention:
    """Keep the edits with known weights, and a single property at the weight of its probe."""
    edits = []
    for edit in intervention.edits:
        if not isinstance(edit.schedule, Dynamic):
            edits.append(edit)
        elif (edit.direction.name, edit.schedule) == probed:
            edits.append(replace(edit, schedule=edit.schedule.probing))
    return Intervention(tuple(edits))


class Probed:
    """A batch whose weights are computed again before each step.

    Args:
        realised: the rows themselves.
        probing: their clean and probe streams, numbered as in ``streams``.
        streams: which streams belong to which row.
        table: receives the weights; the hooks of ``realised`` read it.
    """

    def __init__(
        self, realised: Uncached, probing: Uncached, streams: ProbeStreams, table: DynamicWeights
    ) -> None:
        self._realised, self._probing = realised, probing
        self._streams, self._table = streams, table

    @property
    def rows(self) -> list[int]:
        """Return the rows that are being decoded."""
        return self._realised.rows

    def admit(self, rows: list[int], generated: list[list[int]]) -> Float[Tensor, "row vocabulary"]:
        """Take rows in; return the logits of their next tokens, or of those of all rows."""
        streams = [stream for row in rows for stream in self._streams.numbers[row]]
        if streams:
            self._set_weights(self._probing.admit(streams, self._by_stream(generated)), generated)
        elif not isinstance(self._realised, Cached):  # which steps all rows, and needs weights
            self._step_streams(generated)
        return self._realised.admit(rows, generated)

    def step(self, generated: list[list[int]]) -> Float[Tensor, "row vocabulary"]:
        """Return the logits of the next token of every row."""
        self._step_streams(generated)
        return self._realised.step(generated)

    def release(self, ended: Iterable[int]) -> None:
        """Remove rows, with their streams."""
        ended_rows = list(ended)
        self._probing.release(stream for row in ended_rows for stream in self._streams.numbers[row])
        self._realised.release(ended_rows)

    def _step_streams(self, generated: list[list[int]]) -> None:
        if self._probing.rows:
            self._set_weights(self._probing.step(self._by_stream(generated)), generated)

    def _by_stream(self, generated: list[list[int]]) -> list[list[int]]:
        """Return the tokens of each stream, which are those of its row."""
        return [generated[row] for row in self._streams.owner]

    def _set_weights(
        self, logits: Float[Tensor, "stream vocabulary"], generated: list[list[int]]
    ) -> None:
        streams = self._probing.rows[-len(logits) :]
        for weights in self._streams.find_weights(streams, logits):
            step = torch.tensor([len(generated[row]) for row in weights.row.tolist()])
            self._table.set(weights.row, weights.dial, step.to(weights.row.device), weights.weight)


@contextmanager
def open_probed_batches(
    model: HookedLM,
    prompts: list[list[int]],
    steering: Sequence[Intervention],
    through: Through | None,
    kind: type[Uncached],
    max_new_tokens: int,
) -> Iterator[Callable[[int], Probed]]:
    """Run rows whose weights are computed while they are decoded.

    Args:
        model: the model.
        prompts: the token ids of all rows that are to be decoded.
        steering: the intervention of each row.
        through: see :func:`interp_steer.models.forward.forward_under`.
        kind: with a cache, or whole rows at every step.
        max_new_tokens: the most tokens of an answer.

    Yields:
        A function from a size to an empty batch.
    """
    streams = ProbeStreams(steering)
    table = streams.make_table(max_new_tokens, model.device)
    clocks = {"probing": Clock(), "realised": Clock()}
    switch = _HookSwitch()
    hooks = [
        *switch.guard("probing", row_hooks(streams.steering, clocks["probing"])),
        *switch.guard("realised", row_hooks(steering, clocks["realised"], table)),
    ]
    stream_prompts = [prompts[row] for row in streams.owner]
    with forward_under(model, hooks, through) as forward:
        passes = {name: partial(switch.run, name, forward) for name in clocks}

        def make_batch(size: int) -> Probed:
            return Probed(
                kind(model, prompts, passes["realised"], clocks["realised"]),
                kind(model, stream_prompts, passes["probing"], clocks["probing"]),
                streams,
                table,
            )

        yield make_batch


class _HookSwitch:
    """Two sets of hooks on one model, of which one set acts at a time."""

    def __init__(self) -> None:
        self._active = ""

    def guard(self, name: str, hooks: Hooks) -> Hooks:
        """Return hooks that act only while the set of this name is active."""
        return [(point, partial(self._act, name, function)) for point, function in hooks]

    def run(
        self,
        name: str,
        forward: Forward,
        batch: PaddedBatch,
        cache: DecodingCache | None,
        keep: int,
    ) -> Float[Tensor, "batch kept vocabulary"] | None:
        """Run a pass with the hooks of this name active."""
        self._active = name
        return forward(batch, cache, keep)

    def _act(
        self, name: str, function: Callable[..., Any], activation: Tensor, hook: Any = None
    ) -> Tensor:
        return function(activation, hook) if name == self._active else activation
