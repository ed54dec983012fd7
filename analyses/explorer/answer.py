"""Answer one prompt twice, without and with steering, and show both answers token by token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl

import interp_steer as ist
from analyses.explorer.code_export import write_python
from analyses.explorer.form import Request
from analyses.explorer.jobs import Job
from analyses.explorer.workspace import READING, Workspace, make_label
from figures.geometry.projection_text import Shades
from interp_steer.generation import HALF, split_by_token
from interp_steer.interventions import Intervention, compose

SIDES = ("unsteered", "steered")


@dataclass(frozen=True)
class AnswerPair:
    """Both answers to a request, as far as they are generated."""

    request: Request
    texts: tuple[str, str]
    """Texts without and with steering."""
    completions: tuple[ist.Completion, ist.Completion] | None = None
    """The complete answers; None while tokens are generated."""
    tokens: pl.DataFrame | None = None
    """Columns ``answer_id``, ``step``, ``token`` and ``projection``; None until both are traced."""
    steps: pl.DataFrame | None = None
    """Columns ``step``, ``token``, ``property``, ``strength`` and ``kl`` of the steered answer."""
    code: str = ""
    """A Python script that generates the same answers."""
    along: str = ""
    """The property and the site of the projection, for captions."""
    middle: float = 0.0
    """Mean projection of prompts without the property; 0 for a vector without a baseline."""
    target: float | None = None
    """Mean projection of prompts with the property."""

    @property
    def shades(self) -> Shades:
        """Return the colour scale of both answers' tokens."""
        assert self.tokens is not None
        return Shades.over(self.tokens["projection"], self.middle, self.target)


def answer_request(workspace: Workspace, request: Request, job: Job) -> Iterator[None]:
    """Fit missing vectors, generate both answers, then trace both to colour their tokens.

    The job's result is an :class:`AnswerPair`, which is replaced after each token.
    """
    model = workspace.model
    for choice in request.choices:
        job.report(f"Fitting {make_label(choice.source.name)}")
        workspace.get_vector(choice.source, job)
        yield
    steering = workspace.make_steering(request.choices, job)
    job.report("Answering", AnswerPair(request, ("", "")))
    tokens: tuple[list[int], list[int]] = ([], [])
    texts = ["", ""]

    def on_token(row: int, token: int) -> None:
        tokens[row].append(token)
        texts[row] = model.decode(tokens[row]).rstrip(HALF)
        job.report(result=AnswerPair(request, (texts[0], texts[1])))

    yield
    plain, steered = ist.generate(
        model,
        [request.prompt, request.prompt],
        [ist.unsteered, steering],
        max_new_tokens=request.max_new_tokens,
        sampling=request.sampling,
        options=ist.GenerationOptions(on_token=on_token),
    )
    answers = AnswerPair(request, (plain.text, steered.text), (plain, steered))
    job.report("Reading projections", answers)
    yield
    job.report("", _add_projections(workspace, answers, steering))


def _add_projections(
    workspace: Workspace, answers: AnswerPair, steering: Intervention
) -> AnswerPair:
    """Add both answers' projections, and the steered answer's strength and KL at each step."""
    assert answers.completions is not None
    request, model = answers.request, workspace.model
    source = request.choices[0].source
    vector = workspace.get_vector(source)
    layer = request.read_at(vector.layers)
    direction = workspace.make_reading(source, layer)
    reading = direction.add(
        0.0
    )  # adds 0, so that the trace reads the projection and changes nothing
    traces = ist.trace(
        model,
        [request.prompt, request.prompt],
        [completion.tokens for completion in answers.completions],
        [reading, compose([steering, reading])],
    )
    rows, steps = [], []
    for side, completion, trace in zip(SIDES, answers.completions, traces, strict=True):
        texts = split_by_token(model, completion.tokens, completion.text)
        along = trace.projection[trace.properties.index(READING)].tolist()
        rows += [
            (side, step, text, value)
            for step, (text, value) in enumerate(zip(texts, along, strict=True))
        ]
        if side == "steered":
            kl = trace.kl.tolist()
            steps = [
                (step, text, make_label(name), float(trace.strength[at, step]), kl[step])
                for at, name in enumerate(trace.properties)
                if name != READING
                for step, text in enumerate(texts)
            ]
    middle = 0.0
    if vector.baseline is not None:
        row = vector.layers.index(layer)
        middle = float((vector.baseline[row].double() * direction.unit.double()).sum())
    return replace(
        answers,
        tokens=pl.DataFrame(rows, ["answer_id", "step", "token", "projection"], orient="row"),
        steps=pl.DataFrame(steps, ["step", "token", "property", "strength", "kl"], orient="row"),
        code=write_python(request, workspace),
        along=f"{make_label(source.name)} at {direction.site}",
        middle=middle,
        target=direction.target,
    )
