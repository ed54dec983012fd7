"""One prompt answered twice, without steering and with it, side by side as the tokens come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl

import interp_steer as ist
from analyses.explorer.code_export import python_of
from analyses.explorer.form import Ask
from analyses.explorer.jobs import Job
from analyses.explorer.workspace import READING, Workspace, label
from figures.geometry.projection_text import Shades
from interp_steer.generation.tracing import HALF, split_by_token
from interp_steer.interventions.intervention import Intervention, compose

SIDES = ("unsteered", "steered")


@dataclass(frozen=True)
class Told:
    """An answer to an ask, as far as it has come."""

    ask: Ask
    texts: tuple[str, str]
    """Without steering, and with it."""
    completions: tuple[ist.Completion, ist.Completion] | None = None
    """The whole answers, once they are there."""
    tokens: pl.DataFrame | None = None
    """Columns ``answer_id``, ``step``, ``token`` and ``projection``, once they are read."""
    steps: pl.DataFrame | None = None
    """Columns ``step``, ``token``, ``property``, ``strength`` and ``kl`` of the steered one."""
    code: str = ""
    """Lines of Python that give the same answers."""
    along: str = ""
    """What the projection is on, in words."""
    middle: float = 0.0
    """The mean projection of prompts without the property; 0 where it was not measured."""
    target: float | None = None
    """That of prompts with it."""

    @property
    def shades(self) -> Shades:
        """The colours of both answers' tokens."""
        assert self.tokens is not None
        return Shades.over(self.tokens["projection"], self.middle, self.target)


def answering(shelf: Workspace, ask: Ask, job: Job) -> Iterator[None]:
    """Fit what is missing, answer, then go through both answers once more for their colours.

    The job's result is a :class:`Told`, which grows.
    """
    model = shelf.model
    for steer in ask.steers:
        job.tell(f"Fitting {label(steer.source.name)}")
        shelf.vector(steer.source, job)
        yield
    steering = shelf.steering(ask.steers, job)
    job.tell("Answering", Told(ask, ("", "")))
    heard: tuple[list[int], list[int]] = ([], [])
    texts = ["", ""]

    def on_token(row: int, token: int) -> None:
        heard[row].append(token)
        texts[row] = model.decode(heard[row]).rstrip(HALF)
        job.tell(found=Told(ask, (texts[0], texts[1])))

    yield
    plain, steered = ist.generate(
        model,
        [ask.prompt, ask.prompt],
        [ist.unsteered, steering],
        max_new_tokens=ask.max_new_tokens,
        sampling=ask.sampling,
        options=ist.GenerationOptions(on_token=on_token),
    )
    told = Told(ask, (plain.text, steered.text), (plain, steered))
    job.tell("Reading projections", told)
    yield
    job.tell("", _read(shelf, told, steering))


def _read(shelf: Workspace, told: Told, steering: Intervention) -> Told:
    """The projections of both answers, and what was done at each step of the steered one."""
    assert told.completions is not None
    ask, model = told.ask, shelf.model
    source = ask.steers[0].source
    vector = shelf.vector(source)
    layer = ask.read_at(vector.layers)
    direction = shelf.reading(source, layer)
    reading = direction.add(0.0)  # changes nothing, and is read as what acts is
    traces = ist.trace(
        model,
        [ask.prompt, ask.prompt],
        [completion.tokens for completion in told.completions],
        [reading, compose([steering, reading])],
    )
    rows, steps = [], []
    for name, completion, trace in zip(SIDES, told.completions, traces, strict=True):
        texts = split_by_token(model, completion.tokens, completion.text)
        along = trace.projection[trace.properties.index(READING)].tolist()
        rows += [
            (name, step, text, value)
            for step, (text, value) in enumerate(zip(texts, along, strict=True))
        ]
        if name == "steered":
            kl = trace.kl.tolist()
            steps = [
                (step, text, label(one), float(trace.strength[at, step]), kl[step])
                for at, one in enumerate(trace.properties)
                if one != READING
                for step, text in enumerate(texts)
            ]
    middle = 0.0
    if vector.baseline is not None:
        row = vector.layers.index(layer)
        middle = float((vector.baseline[row].double() * direction.unit.double()).sum())
    return replace(
        told,
        tokens=pl.DataFrame(rows, ["answer_id", "step", "token", "projection"], orient="row"),
        steps=pl.DataFrame(steps, ["step", "token", "property", "strength", "kl"], orient="row"),
        code=python_of(ask, shelf),
        along=f"{label(source.name)} at {direction.site}",
        middle=middle,
        target=direction.target,
    )
