"""What a page asks for: a prompt, and what steers; checked, since anything may come in a form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import interp_steer as ist
from analyses.explorer.jobs import ExplorerError
from interp_steer.interventions.operations import Operation
from interp_steer.interventions.positions import span
from interp_steer.interventions.schedules import parse as parse_schedule
from interp_steer.models.sites import COMPONENTS
from interp_steer.vectors.estimators import ESTIMATORS
from interp_steer.vectors.strength import Unit

OPERATIONS = (Operation.PROJECT, Operation.ADD, Operation.TURN, Operation.ABLATE)
"""The operations that a page offers, in this order."""

POSITIONS = ("all", "generated", "prompt", "last", "not_bos")
READS = ("last", "all", "generated")

MOST_STEERS = 3
"""Vectors that steer together."""


@dataclass(frozen=True)
class Limits:
    """What a page may ask for at most, lest one tab keep the model from the others."""

    letters: int = 4000
    """Of a prompt."""
    new_tokens: int = 256
    """Of an answer."""
    schedule: int = 400
    """Letters of a schedule."""
    strength: float = 1e4
    """Of a strength, whatever its unit."""
    cells: int = 160
    """Of a sweep: layers times strengths."""
    prompts: int = 24
    """That a sweep asks in each cell."""
    file: int = 256 * 2**20
    """Bytes of a vector that is opened."""


@dataclass(frozen=True)
class Source:
    """A vector: of which property, and how it is fitted; or one that was saved."""

    name: str
    """An IFEval id, perhaps with ``?ARGUMENT=VALUE``; or the key of a saved vector."""
    component: str = "resid_post"
    position: str = "last"
    estimator: str = "difference_in_means"


@dataclass(frozen=True)
class Steer:
    """One vector and what is done along it."""

    source: Source
    layers: tuple[int, ...]
    operation: Operation = Operation.PROJECT
    strength: ist.Strength | None = None
    """None for the vector's own target, in a projection."""
    schedule: str = "fixed"
    positions: str = "all"

    def at(self, layer: int, strength: ist.Strength | None) -> Steer:
        """The same at one layer, with another strength."""
        return replace(self, layers=(layer,), strength=strength)


@dataclass(frozen=True)
class Ask:
    """A prompt, and what steers the answer."""

    prompt: str
    steers: tuple[Steer, ...]
    max_new_tokens: int = 96
    temperature: float = 0.0
    """0 for greedy decoding."""
    seed: int = 0
    read_layer: int | None = None
    """Where the projection is read that tokens are coloured by; one after the steered when None."""

    @property
    def sampling(self) -> ist.Sampling | None:
        """How tokens are drawn."""
        return ist.Sampling(self.temperature, seed=self.seed) if self.temperature else None

    def read_at(self, layers: Sequence[int]) -> int:
        """The layer at which the first vector's projection is read.

        Under a projection every token has the same one at the steered layer, so that by default it
        is the next one that is read.

        Args:
            layers: that the vector has directions for.
        """
        if self.read_layer is not None:
            return self.read_layer
        steered = max(self.steers[0].layers)
        return min((layer for layer in layers if layer > steered), default=max(layers))


def ask_of(form: Mapping[str, Any], limits: Limits, n_layers: int) -> Ask:
    """What a form asks for.

    Args:
        form: ``prompt``, ``max_new_tokens``, ``temperature``, ``seed``, ``read_layer``, and
            ``steers``, a mapping each.
        limits: what may be asked for.
        n_layers: of the model.

    Raises:
        ExplorerError: saying what is wrong, and the mend.
        InterventionError: for a schedule or positions that are none.
    """
    prompt = form.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise ExplorerError("There is no prompt. Write one, such as: Tell me about the castle.")
    if len(prompt) > limits.letters:
        raise ExplorerError(
            f"The prompt has {len(prompt):,} letters; {limits.letters:,} are allowed. Shorten it."
        )
    steers = [steer for steer in form.get("steers", ()) if steer.get("name")]
    if not steers:
        raise ExplorerError("No vector is chosen. Choose one under Steering.")
    return Ask(
        prompt=prompt,
        steers=tuple(steer_of(steer, limits, n_layers) for steer in steers[:MOST_STEERS]),
        max_new_tokens=whole("The length of the answer", form.get("max_new_tokens"), 1,
                              limits.new_tokens),
        temperature=_real("The temperature", form.get("temperature") or 0.0, 0.0, 10.0),
        seed=whole("The seed", form.get("seed") or 0, 0, 2**31),
        read_layer=None
        if form.get("read_layer") in (None, "")
        else whole("The layer to colour by", form["read_layer"], 0, n_layers - 1),
    )  # fmt: skip


def steer_of(form: Mapping[str, Any], limits: Limits, n_layers: int) -> Steer:
    """What one vector's card asks for; see :func:`ask_of`."""
    layers = form.get("layers")
    layers = layers if isinstance(layers, list) else [layers]
    if layers in ([], [None], [""]):
        raise ExplorerError("No layer is chosen. Choose one or more under Layers.")
    operation = Operation(
        _one_of("The operation", form.get("operation") or Operation.PROJECT, OPERATIONS)
    )
    schedule = str(form.get("schedule") or "fixed").strip()
    if len(schedule) > limits.schedule:
        raise ExplorerError(
            f"The schedule has {len(schedule):,} letters; {limits.schedule} are allowed."
        )
    parse_schedule(schedule)
    positions = str(form.get("positions") or "all")
    span(positions)
    return Steer(
        source=source_of(form),
        layers=tuple(sorted({whole("A layer", at, 0, n_layers - 1) for at in layers})),
        operation=operation,
        strength=strength_of(form, operation, limits),
        schedule=schedule,
        positions=positions,
    )


def source_of(form: Mapping[str, Any]) -> Source:
    """The vector that a card names."""
    return Source(
        name=str(form.get("name") or ""),
        component=_one_of("The component", form.get("component") or "resid_post", COMPONENTS),
        position=_one_of("Where it is read", form.get("position") or "last", READS),
        estimator=_one_of(
            "The estimator", form.get("estimator") or "difference_in_means", tuple(ESTIMATORS)
        ),
    )


def strength_of(
    form: Mapping[str, Any], operation: Operation, limits: Limits
) -> ist.Strength | None:
    """The strength that a card names; None for a projection to the vector's own target."""
    given = form.get("strength")
    if operation.parameter is None or (operation is Operation.PROJECT and given in (None, "")):
        return None
    amount = _real("The strength", given, -limits.strength, limits.strength)
    return ist.Strength(amount, _one_of("The unit", form.get("unit") or "norm", get_args(Unit)))


def strengths_of(text: str, unit: str, limits: Limits) -> tuple[ist.Strength, ...]:
    """The strengths of a sweep, rising, from numbers with commas between them."""
    parts = [part for part in str(text or "").replace(";", ",").split(",") if part.strip()]
    if not parts:
        raise ExplorerError("The sweep has no strengths. Write some, such as 0.5, 1, 2.")
    if len(parts) > limits.cells:
        raise ExplorerError(f"{len(parts)} strengths are more than {limits.cells}. Give fewer.")
    known = _one_of("The unit", unit or "norm", get_args(Unit))
    amounts = {_real("A strength", part, -limits.strength, limits.strength) for part in parts}
    return tuple(ist.Strength(amount, known) for amount in sorted(amounts))


def _one_of(what: str, value: Any, known: Sequence[str]) -> Any:
    if value not in known:
        raise ExplorerError(f"{what} is {str(value)[:40]!r}; choose one of {', '.join(known)}.")
    return value


def _real(what: str, value: Any, least: float, most: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not least <= number <= most:
        said = str(value if value is not None else "").strip()[:40]
        raise ExplorerError(
            f"{what} is {said!r}; give a number from {least:g} to {most:g}."
            if said
            else f"{what} is missing; give a number from {least:g} to {most:g}."
        )
    return number


def whole(what: str, value: Any, least: int, most: int) -> int:
    """A whole number from a field.

    Raises:
        ExplorerError: naming the field, when it is none or out of range.
    """
    number = _real(what, value, least, most)
    if number != int(number):
        raise ExplorerError(f"{what} is {number:g}; give a whole number from {least} to {most}.")
    return int(number)
