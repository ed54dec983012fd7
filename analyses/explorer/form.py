"""Parse and check the form of a page: a prompt and up to three steering vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import interp_steer as ist
from analyses.explorer.jobs import ExplorerError
from interp_steer.interventions import Operation, span
from interp_steer.interventions import parse as parse_schedule
from interp_steer.models import COMPONENTS
from interp_steer.vectors import ESTIMATORS, Unit

OPERATIONS = (Operation.PROJECT, Operation.ADD, Operation.TURN, Operation.ABLATE)
"""The operations that a page offers, in this order."""

POSITIONS = ("all", "generated", "prompt", "last", "not_bos")
READS = ("last", "all", "generated")

MAX_VECTORS = 3
"""Vectors that can steer together."""


@dataclass(frozen=True)
class Limits:
    """Limits of a request, so that no tab can occupy the model for long."""

    letters: int = 4000
    """Characters of a prompt."""
    new_tokens: int = 256
    """Tokens of an answer."""
    schedule: int = 400
    """Characters of a schedule."""
    strength: float = 1e4
    """Absolute value of a strength in any unit."""
    cells: int = 160
    """Cells of a sweep: layers times strengths."""
    prompts: int = 24
    """Prompts that a sweep answers in each cell."""
    file: int = 256 * 2**20
    """Bytes of an opened file."""


@dataclass(frozen=True)
class Source:
    """A property with the options of its fit, or a saved vector."""

    name: str
    """An IFEval id, optionally with ``?ARGUMENT=VALUE``, or the key of a saved vector."""
    component: str = "resid_post"
    position: str = "last"
    estimator: str = "difference_in_means"


@dataclass(frozen=True)
class SteeringChoice:
    """One vector with the operation, layers, strength, schedule and positions of its steering."""

    source: Source
    layers: tuple[int, ...]
    operation: Operation = Operation.PROJECT
    strength: ist.Strength | None = None
    """None projects to the vector's fitted target."""
    schedule: str = "fixed"
    positions: str = "all"

    def at(self, layer: int, strength: ist.Strength | None) -> SteeringChoice:
        """Return the same choice at one layer and with the given strength."""
        return replace(self, layers=(layer,), strength=strength)


@dataclass(frozen=True)
class Request:
    """A prompt, and the steering of its answer."""

    prompt: str
    choices: tuple[SteeringChoice, ...]
    max_new_tokens: int = 96
    temperature: float = 0.0
    """0 decodes greedily."""
    seed: int = 0
    read_layer: int | None = None
    """Layer of the projection that colours tokens; None for the layer after those steered."""

    @property
    def sampling(self) -> ist.Sampling | None:
        """Return the sampling options; None for greedy decoding."""
        return ist.Sampling(self.temperature, seed=self.seed) if self.temperature else None

    def read_at(self, layers: Sequence[int]) -> int:
        """Return the layer at which the projection on the first vector is read.

        The default is the layer after the last steered layer: a vector that is projected to a
        target gives every token the same projection at the steered layer itself.

        Args:
            layers: the layers of the vector.
        """
        if self.read_layer is not None:
            return self.read_layer
        steered = max(self.choices[0].layers)
        return min((layer for layer in layers if layer > steered), default=max(layers))


def parse_request(form: Mapping[str, Any], limits: Limits, n_layers: int) -> Request:
    """Return the request of a form.

    Args:
        form: ``prompt``, ``max_new_tokens``, ``temperature``, ``seed``, ``read_layer``, and
            ``steers``, a list of one mapping for each card.
        limits: the limits of a request.
        n_layers: layers of the model.

    Raises:
        ExplorerError: if a field is missing or out of range.
        InterventionError: if a schedule or positions cannot be parsed.
    """
    prompt = form.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise ExplorerError(
            "The prompt is empty. Write a prompt, such as: Tell me about the castle."
        )
    if len(prompt) > limits.letters:
        raise ExplorerError(
            f"The prompt has {len(prompt):,} characters; {limits.letters:,} are allowed. "
            "Shorten the prompt."
        )
    cards = [card for card in form.get("steers", ()) if card.get("name")]
    if not cards:
        raise ExplorerError("No vector is chosen. Choose a property under Steering.")
    return Request(
        prompt=prompt,
        choices=tuple(parse_choice(card, limits, n_layers) for card in cards[:MAX_VECTORS]),
        max_new_tokens=parse_whole_number(
            "The maximum of new tokens", form.get("max_new_tokens"), 1, limits.new_tokens
        ),
        temperature=_parse_number("The temperature", form.get("temperature") or 0.0, 0.0, 10.0),
        seed=parse_whole_number("The seed", form.get("seed") or 0, 0, 2**31),
        read_layer=None
        if form.get("read_layer") in (None, "")
        else parse_whole_number("The projection layer", form["read_layer"], 0, n_layers - 1),
    )


def parse_choice(form: Mapping[str, Any], limits: Limits, n_layers: int) -> SteeringChoice:
    """Return the choice of one card; see :func:`parse_request`."""
    layers = form.get("layers")
    layers = layers if isinstance(layers, list) else [layers]
    if layers in ([], [None], [""]):
        raise ExplorerError("No layer is chosen. Choose one or more layers.")
    operation = Operation(
        _check_known("The operation", form.get("operation") or Operation.PROJECT, OPERATIONS)
    )
    schedule = str(form.get("schedule") or "fixed").strip()
    if len(schedule) > limits.schedule:
        raise ExplorerError(
            f"The schedule has {len(schedule):,} characters; {limits.schedule} are allowed. "
            "Shorten the schedule."
        )
    parse_schedule(schedule)
    positions = str(form.get("positions") or "all")
    span(positions)
    return SteeringChoice(
        source=parse_source(form),
        layers=tuple(sorted({parse_whole_number("A layer", at, 0, n_layers - 1) for at in layers})),
        operation=operation,
        strength=parse_strength(form, operation, limits),
        schedule=schedule,
        positions=positions,
    )


def parse_source(form: Mapping[str, Any]) -> Source:
    """Return the vector of a card."""
    return Source(
        name=str(form.get("name") or ""),
        component=_check_known("The component", form.get("component") or "resid_post", COMPONENTS),
        position=_check_known("The position of the fit", form.get("position") or "last", READS),
        estimator=_check_known(
            "The estimator", form.get("estimator") or "difference_in_means", tuple(ESTIMATORS)
        ),
    )


def parse_strength(
    form: Mapping[str, Any], operation: Operation, limits: Limits
) -> ist.Strength | None:
    """Return the strength of a card; None to project to the vector's fitted target."""
    given = form.get("strength")
    if operation.parameter is None or (operation is Operation.PROJECT and given in (None, "")):
        return None
    amount = _parse_number("The strength", given, -limits.strength, limits.strength)
    return ist.Strength(
        amount, _check_known("The unit", form.get("unit") or "norm", get_args(Unit))
    )


def parse_strengths(text: str, unit: str, limits: Limits) -> tuple[ist.Strength, ...]:
    """Return the strengths of a sweep, ascending, from numbers separated by commas."""
    parts = [part for part in str(text or "").replace(";", ",").split(",") if part.strip()]
    if not parts:
        raise ExplorerError(
            "The sweep has no strengths. Write numbers separated by commas, such as 0.5, 1, 2."
        )
    if len(parts) > limits.cells:
        raise ExplorerError(
            f"The sweep has {len(parts)} strengths; {limits.cells} are allowed. Give fewer."
        )
    known = _check_known("The unit", unit or "norm", get_args(Unit))
    amounts = {
        _parse_number("A strength", part, -limits.strength, limits.strength) for part in parts
    }
    return tuple(ist.Strength(amount, known) for amount in sorted(amounts))


def _check_known(field: str, value: Any, known: Sequence[str]) -> Any:
    if value not in known:
        raise ExplorerError(f"{field} is {str(value)[:40]!r}; choose one of {', '.join(known)}.")
    return value


def _parse_number(field: str, value: Any, least: float, most: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not least <= number <= most:
        text = str(value if value is not None else "").strip()[:40]
        raise ExplorerError(
            f"{field} is {text!r}; give a number from {least:g} to {most:g}."
            if text
            else f"{field} is missing; give a number from {least:g} to {most:g}."
        )
    return number


def parse_whole_number(field: str, value: Any, least: int, most: int) -> int:
    """Return the whole number in a field.

    Raises:
        ExplorerError: if the value is not a whole number or is out of range.
    """
    number = _parse_number(field, value, least, most)
    if number != int(number):
        raise ExplorerError(f"{field} is {number:g}; give a whole number from {least} to {most}.")
    return int(number)
