"""The vectors at hand: fitted when they are first asked for, and kept; saved ones beside them."""

from __future__ import annotations

import re
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import interp_steer as ist
from analyses.explorer.form import Source, Steer
from analyses.explorer.jobs import ExplorerError, Job
from analyses.kit.instruction_sets import FORMATS, contrast_sets
from analyses.kit.operations import READ_TOKENS
from interp_steer.contrast.instructions.registry import IDS, LANGUAGE, LANGUAGE_NAMES
from interp_steer.contrast.pair import Prompt
from interp_steer.errors import InterpSteerError
from interp_steer.interventions.intervention import Direction, Intervention, compose
from interp_steer.interventions.schedules import parse as parse_schedule
from interp_steer.world.queries import list_queries

SAVED = "saved:"
"""How the key of a saved vector begins."""

MOST_FITTED, MOST_SAVED = 64, 32
"""Vectors that are kept; of those that were fitted the one that was not asked for for longest goes
first."""


@dataclass(frozen=True)
class Making:
    """How vectors are fitted."""

    model: str = "burattino-instruct"
    """What the model was loaded as."""
    seed: int = 0
    """Of the contrast sets."""
    n_fit: int = 64
    """Pairs that a vector is fitted on."""
    n_select: int = 24
    """Pairs that strengths and sweeps are measured on."""
    n_test: int = 48
    """Pairs that heads are measured on."""
    data: str | None = None
    """IFEval's requests; those of the bundled world when None."""


class Workspace:
    """Vectors, contrast sets and gauges of one model, each made once.

    Args:
        model: whose they are.
        making: how they are made.
    """

    def __init__(self, model: ist.HookedLM, making: Making | None = None) -> None:
        self.model = model
        self.making = making or Making()
        self._fitted: OrderedDict[Source, ist.SteeringVector] = OrderedDict()
        self._gauges: dict[Source, ist.StrengthCalibrator] = {}
        self._sets: dict[str, ist.ContrastSet] = {}
        self._saved: dict[str, ist.SteeringVector] = {}

    # -------------------------------------------------------------- what there is
    def options(self) -> list[dict[str, str]]:
        """What can be chosen, as a dropdown has it: saved vectors first."""
        languages = [f"{LANGUAGE}?language={code}" for code in LANGUAGE_NAMES]
        names = dict.fromkeys([*FORMATS, *languages, *IDS])
        names.pop(LANGUAGE)  # which language is asked for makes the vector
        opened = list(self._saved.items())  # other tabs may open more
        saved = [{"value": key, "label": f"{vector.name} (file)"} for key, vector in opened]
        return saved + [{"value": name, "label": label(name)} for name in names]

    def keep(self, name: str, content: bytes) -> str:
        """Take in the file of a saved vector; returns its key.

        Raises:
            VectorError: when it is none, or one of another model.
            ExplorerError: when there are too many already.
        """
        if len(self._saved) >= MOST_SAVED:
            raise ExplorerError(f"{MOST_SAVED} files are open already; start the explorer again.")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vector.safetensors"
            path.write_bytes(content)
            try:
                vector = ist.SteeringVector.load(path)
            except InterpSteerError as error:
                raise type(error)(str(error).replace(str(path), name)) from error
        return self.take(Path(name).name, vector)

    def take(self, name: str, vector: ist.SteeringVector) -> str:
        """Take in a saved vector; returns its key.

        Raises:
            VectorError: when it is one of another model.
        """
        key = f"{SAVED}{name}"
        self._saved[key] = vector.check(self.model)
        return key

    def has(self, source: Source) -> bool:
        """Whether a vector is there, so that asking for it runs nothing."""
        return source.name in self._saved or source in self._fitted

    def layers(self, source: Source) -> tuple[int, ...]:
        """The layers that a vector has directions for."""
        if source.name in self._saved:
            return self._saved[source.name].layers
        return tuple(range(self.model.n_layers))

    # -------------------------------------------------------------- what is made
    def vector(self, source: Source, job: Job | None = None) -> ist.SteeringVector:
        """The vector, fitted where it is not there yet.

        Args:
            source: which.
            job: is told how far the fit is.

        Raises:
            ExplorerError: for a name that stands for nothing.
        """
        if source.name.startswith(SAVED):
            if source.name not in self._saved:
                name = source.name.removeprefix(SAVED)
                raise ExplorerError(f"The file {name} is not open any longer; open it again.")
            return self._saved[source.name]
        if source not in self._fitted:
            pairs = self.pairs(source).fit
            self._fitted[source] = ist.fit(
                self.model,
                pairs,
                component=source.component,
                position=source.position,
                estimator=source.estimator,
                max_new_tokens=READ_TOKENS,
                options=ist.capture.CaptureOptions(
                    on_read=job and partial(_progress, job, label(source.name), 2 * len(pairs), [0])
                ),
            )
            while len(self._fitted) > MOST_FITTED:
                gone, _ = self._fitted.popitem(last=False)
                self._gauges.pop(gone, None)
        self._fitted.move_to_end(source)
        return self._fitted[source]

    def fitted_like(self, source: Source) -> list[Source]:
        """Vectors that are there already and were read where this one was."""
        like = replace(source, name="")
        return [one for one in self._fitted if replace(one, name="") == like]

    def pairs(self, source: Source) -> ist.ContrastSet:
        """The contrast set of a property.

        Raises:
            ExplorerError: for a saved vector, whose pairs are not known.
            ContrastError: for a property that is none.
        """
        name, how = source.name, self.making
        if name.startswith(SAVED):
            raise ExplorerError(
                "The pairs that a saved vector was fitted on are not known; choose a property."
            )
        if name not in self._sets:
            sizes = {"fit": how.n_fit, "select": how.n_select, "test": how.n_test}
            self._sets[name] = contrast_sets([name], how.seed, data=how.data, **sizes)[name]
        return self._sets[name]

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Prompts that do not ask for the property, and that it was not fitted on."""
        if source.name.startswith(SAVED):
            return [query.text for query in list_queries("held")][: self.making.n_select]
        return self.pairs(source).select.absent

    def gauge(self, source: Source, job: Job | None = None) -> ist.StrengthCalibrator:
        """What the strengths of a vector are measured by."""
        if source not in self._gauges:
            vector = self.vector(source, job)
            self._gauges[source] = ist.StrengthCalibrator(self.model, vector, self.prompts(source))
        return self._gauges[source]

    # -------------------------------------------------------------- what acts
    def steering(self, steers: Sequence[Steer], job: Job | None = None) -> Intervention:
        """What some choices do together.

        Raises:
            InterpSteerError: for a layer that a vector does not have, or a strength that cannot be
                reached.
        """
        return compose(self.edit(steer, layer, job) for steer in steers for layer in steer.layers)

    def edit(self, steer: Steer, layer: int, job: Job | None = None) -> Intervention:
        """What a choice does at one layer."""
        vector = self.vector(steer.source, job)
        schedule = parse_schedule(steer.schedule)
        if steer.strength is None or steer.operation.parameter is None:
            return vector.at(layer).apply(steer.operation, None, steer.positions, schedule)
        if job is not None and steer.strength.unit in ("kl", "ppl"):
            job.tell(f"Looking for the strength that is {steer.strength} at layer {layer}")
        gauge = self.gauge(steer.source, job)
        return gauge.steering(layer, steer.operation, steer.strength, steer.positions, schedule)

    def reading(self, source: Source, layer: int) -> Direction:
        """A vector's direction at a layer, under a name that nothing acts along."""
        return replace(self.vector(source).at(layer), name=READING)


READING = "reading"
"""What a direction is called that is only read along."""


def label(name: str) -> str:
    """A property as a reader says it: ``english lowercase``, ``language: Italian``."""
    if name.startswith(SAVED):
        return name.removeprefix(SAVED).removesuffix(".safetensors")
    known, _, argument = name.partition("?")
    if known == LANGUAGE:
        code = argument.partition("=")[2]
        return f"language: {LANGUAGE_NAMES.get(code, code)}"
    plain = re.sub(r"[_-]+", " ", known.rpartition(":")[2])
    return f"{plain} ({argument.partition('=')[2]})" if argument else plain


def _progress(job: Job, name: str, total: int, done: list[int], read: int) -> None:
    done[0] += read
    job.tell(f"Fitting {name}: {done[0]} of {total} prompts")
