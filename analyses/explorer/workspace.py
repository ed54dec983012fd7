"""Provide vectors: fit a vector at its first use and cache it, and open saved vectors."""

from __future__ import annotations

import re
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import interp_steer as ist
from analyses.explorer.form import Source, SteeringChoice
from analyses.explorer.jobs import ExplorerError, Job
from analyses.kit.instruction_sets import FORMATS, contrast_sets
from analyses.kit.operations import READ_TOKENS
from interp_steer.contrast import Prompt
from interp_steer.contrast.instructions import IDS, LANGUAGE, LANGUAGE_NAMES
from interp_steer.errors import InterpSteerError
from interp_steer.interventions import Direction, Intervention, compose
from interp_steer.interventions import parse as parse_schedule
from interp_steer.world import list_queries

SAVED = "saved:"
"""Prefix of the keys of saved vectors."""

MAX_FITTED, MAX_SAVED = 64, 32
"""Maximum numbers of fitted vectors, of which the least recently used is dropped, and of files."""


@dataclass(frozen=True)
class FitOptions:
    """The model, and the data that vectors are fitted on."""

    model: str = "burattino-instruct"
    """Name or folder that the model was loaded from."""
    seed: int = 0
    """Seed of the contrast sets."""
    n_fit: int = 64
    """Pairs that each vector is fitted on."""
    n_select: int = 24
    """Pairs that strengths and sweeps are measured on."""
    n_test: int = 48
    """Pairs that heads are measured on."""
    data: str | None = None
    """File of IFEval's requests; None for the requests of the bundled world."""


class Workspace:
    """Vectors, contrast sets and strength calibrators of one model, each made once.

    Args:
        model: the model that the vectors steer.
        fit_options: the options of the fits.
    """

    def __init__(self, model: ist.HookedLM, fit_options: FitOptions | None = None) -> None:
        self.model = model
        self.fit_options = fit_options or FitOptions()
        self._fitted: OrderedDict[Source, ist.SteeringVector] = OrderedDict()
        self._calibrators: dict[Source, ist.StrengthCalibrator] = {}
        self._sets: dict[str, ist.ContrastSet] = {}
        self._saved: dict[str, ist.SteeringVector] = {}

    # -------------------------------------------------------------- available vectors
    def list_options(self) -> list[dict[str, str]]:
        """Return the options of the property dropdown, saved vectors first."""
        languages = [f"{LANGUAGE}?language={code}" for code in LANGUAGE_NAMES]
        names = dict.fromkeys([*FORMATS, *languages, *IDS])
        names.pop(LANGUAGE)  # listed once for each language
        opened = list(self._saved.items())  # other tabs may open more
        saved = [{"value": key, "label": f"{vector.name} (file)"} for key, vector in opened]
        return saved + [{"value": name, "label": make_label(name)} for name in names]

    def open_file(self, name: str, content: bytes) -> str:
        """Open the file of a saved vector; return the vector's key.

        Raises:
            VectorError: if the file is not a vector, or a vector of another model.
            ExplorerError: if too many files are open.
        """
        if len(self._saved) >= MAX_SAVED:
            raise ExplorerError(
                f"{MAX_SAVED} files are already open; restart the explorer to open others."
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vector.safetensors"
            path.write_bytes(content)
            try:
                vector = ist.SteeringVector.load(path)
            except InterpSteerError as error:
                raise type(error)(str(error).replace(str(path), name)) from error
        return self.add_saved_vector(Path(name).name, vector)

    def add_saved_vector(self, name: str, vector: ist.SteeringVector) -> str:
        """Add a saved vector; return its key.

        Raises:
            VectorError: if the vector is of another model.
        """
        key = f"{SAVED}{name}"
        self._saved[key] = vector.check(self.model)
        return key

    def has_vector(self, source: Source) -> bool:
        """Return whether a vector is available without a fit."""
        return source.name in self._saved or source in self._fitted

    # -------------------------------------------------------------- fitting
    def get_vector(self, source: Source, job: Job | None = None) -> ist.SteeringVector:
        """Return a vector, fitted if needed.

        Args:
            source: the vector.
            job: the job to report the progress of the fit to.

        Raises:
            ExplorerError: if the file of a saved vector is no longer open.
            ContrastError: if the property is unknown.
        """
        if source.name.startswith(SAVED):
            if source.name not in self._saved:
                name = source.name.removeprefix(SAVED)
                raise ExplorerError(f"The file {name} is no longer open; open it again.")
            return self._saved[source.name]
        if source not in self._fitted:
            pairs = self.get_pairs(source).fit
            self._fitted[source] = ist.fit(
                self.model,
                pairs,
                component=source.component,
                position=source.position,
                estimator=source.estimator,
                max_new_tokens=READ_TOKENS,
                options=ist.capture.CaptureOptions(
                    on_read=job
                    and partial(_report_progress, job, make_label(source.name), 2 * len(pairs), [0])
                ),
            )
            while len(self._fitted) > MAX_FITTED:
                gone, _ = self._fitted.popitem(last=False)
                self._calibrators.pop(gone, None)
        self._fitted.move_to_end(source)
        return self._fitted[source]

    def list_fitted_like(self, source: Source) -> list[Source]:
        """Return the fitted vectors that have the same component, position and estimator."""
        like = replace(source, name="")
        return [other for other in self._fitted if replace(other, name="") == like]

    def get_pairs(self, source: Source) -> ist.ContrastSet:
        """Return the contrast set of a property.

        Raises:
            ExplorerError: for a saved vector, whose pairs are unknown.
            ContrastError: if the property is unknown.
        """
        name, options = source.name, self.fit_options
        if name.startswith(SAVED):
            raise ExplorerError(
                "The pairs that a saved vector was fitted on are unknown; choose a property."
            )
        if name not in self._sets:
            sizes = {"fit": options.n_fit, "select": options.n_select, "test": options.n_test}
            self._sets[name] = contrast_sets([name], options.seed, data=options.data, **sizes)[name]
        return self._sets[name]

    def get_prompts(self, source: Source) -> Sequence[Prompt]:
        """Return prompts without the property that the vector was not fitted on."""
        if source.name.startswith(SAVED):
            return [query.text for query in list_queries("held")][: self.fit_options.n_select]
        return self.get_pairs(source).select.absent

    def get_calibrator(self, source: Source, job: Job | None = None) -> ist.StrengthCalibrator:
        """Return the strength calibrator of a vector."""
        if source not in self._calibrators:
            vector, prompts = self.get_vector(source, job), self.get_prompts(source)
            self._calibrators[source] = ist.StrengthCalibrator(self.model, vector, prompts)
        return self._calibrators[source]

    # -------------------------------------------------------------- steering
    def make_steering(
        self, choices: Sequence[SteeringChoice], job: Job | None = None
    ) -> Intervention:
        """Compose the interventions of some choices.

        Raises:
            InterpSteerError: if a vector lacks a layer, or a strength cannot be reached.
        """
        return compose(
            self.make_edit(choice, layer, job) for choice in choices for layer in choice.layers
        )

    def make_edit(self, choice: SteeringChoice, layer: int, job: Job | None = None) -> Intervention:
        """Return the intervention of a choice at one layer."""
        vector = self.get_vector(choice.source, job)
        schedule = parse_schedule(choice.schedule)
        if choice.strength is None or choice.operation.parameter is None:
            return vector.at(layer).apply(choice.operation, None, choice.positions, schedule)
        if job is not None and choice.strength.unit in ("kl", "ppl"):
            job.report(f"Calibrating {choice.strength} at layer {layer}")
        calibrator = self.get_calibrator(choice.source, job)
        return calibrator.steering(
            layer, choice.operation, choice.strength, choice.positions, schedule
        )

    def make_reading(self, source: Source, layer: int) -> Direction:
        """Return a vector's direction at a layer, named :data:`READING`."""
        return replace(self.get_vector(source).at(layer), name=READING)


READING = "reading"
"""Name of a direction that is read and not steered along."""


def make_label(name: str) -> str:
    """Return a readable name of a property: ``english lowercase``, ``language: Italian``."""
    if name.startswith(SAVED):
        return name.removeprefix(SAVED).removesuffix(".safetensors")
    known, _, argument = name.partition("?")
    if known == LANGUAGE:
        code = argument.partition("=")[2]
        return f"language: {LANGUAGE_NAMES.get(code, code)}"
    plain = re.sub(r"[_-]+", " ", known.rpartition(":")[2])
    return f"{plain} ({argument.partition('=')[2]})" if argument else plain


def _report_progress(job: Job, name: str, total: int, done: list[int], read: int) -> None:
    done[0] += read
    job.report(f"Fitting {name}: {done[0]} of {total} prompts")
