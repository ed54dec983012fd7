"""Activation steering for mechanistic-interpretability research, on TransformerLens hook points.

Name a model, fit a steering vector from contrasting prompts, steer, measure:

    >>> import interp_steer as ist
    >>> model = ist.load("burattino-instruct")  # doctest: +SKIP
    >>> pairs = ist.world.instruction("change_case:english_lowercase")  # doctest: +SKIP
    >>> vector = ist.fit(model, pairs.fit)  # doctest: +SKIP
    >>> steer = vector.at(layer=5).project()  # doctest: +SKIP
    >>> ist.generate(model, ["Tell me about the castle."], steer)[0].text  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp_steer import interchange as interchange
    from interp_steer import scoring as scoring
    from interp_steer.capture import activations as activations
    from interp_steer.capture.moments import Moments as Moments
    from interp_steer.contrast import build as build
    from interp_steer.contrast import languages as languages
    from interp_steer.contrast import parallel as parallel
    from interp_steer.contrast.contrast_set import ContrastSet as ContrastSet
    from interp_steer.errors import InterpSteerError as InterpSteerError
    from interp_steer.generation.answer_scores import divergence as divergence
    from interp_steer.generation.cluster import Cluster as Cluster
    from interp_steer.generation.completions import Completion as Completion
    from interp_steer.generation.completions import Sampling as Sampling
    from interp_steer.generation.completions import generate as generate
    from interp_steer.generation.completions import logprobs as logprobs
    from interp_steer.generation.ledger import Ledger as Ledger
    from interp_steer.generation.tracing import Trace as Trace
    from interp_steer.generation.tracing import trace as trace
    from interp_steer.interventions import schedules as schedules
    from interp_steer.interventions.intervention import Direction as Direction
    from interp_steer.interventions.intervention import Intervention as Intervention
    from interp_steer.interventions.intervention import compose as compose
    from interp_steer.interventions.intervention import unsteered as unsteered
    from interp_steer.models.loading import HookedLM as HookedLM
    from interp_steer.models.loading import load as load
    from interp_steer.models.loading import wrap as wrap
    from interp_steer.models.sites import Site as Site
    from interp_steer.results.run import Run as Run
    from interp_steer.results.run import open_run as open_run
    from interp_steer.statistics import intervals as intervals
    from interp_steer.sweeps.grid import Cell as Cell
    from interp_steer.sweeps.grid import sweep as sweep
    from interp_steer.sweeps.racing import Race as Race
    from interp_steer.sweeps.racing import race as race
    from interp_steer.sweeps.selection import select_layer as select_layer
    from interp_steer.vectors import conditions as conditions
    from interp_steer.vectors.fitting import fit as fit
    from interp_steer.vectors.fitting import fit_steps as fit_steps
    from interp_steer.vectors.steering_vector import SteeringVector as SteeringVector
    from interp_steer.vectors.stepped_vector import SteppedVector as SteppedVector
    from interp_steer.vectors.strength import Gauge as Gauge
    from interp_steer.vectors.strength import Strength as Strength
    from interp_steer.vectors.transfer import fitting as fitting
    from interp_steer.vectors.transport import TransportMaps as TransportMaps
    from interp_steer.vectors.transport import fit_transport as fit_transport
    from interp_steer.vectors.trust import assess as assess

__version__ = "0.1.0"

# PyTorch and TransformerLens take seconds to import, so a name is imported when it is first used.
_MODULES = {
    "capture": "capture.activations",
    "conditions": "vectors.conditions",
    "contrast": "contrast.build",
    "world": "world.contrast_sets",
    "interchange": "interchange",
    "language_sets": "contrast.languages",
    "parallel": "contrast.parallel",
    "schedules": "interventions.schedules",
    "scoring": "scoring",
    "stability": "vectors.trust.assess",
    "statistics": "statistics.intervals",
    "transfer": "vectors.transfer.fitting",
}
_HOMES = {
    "Cluster": "generation.cluster",
    "ContrastSet": "contrast.contrast_set",
    "divergence": "generation.answer_scores",
    "InterpSteerError": "errors",
    "Completion": "generation.completions",
    "Sampling": "generation.completions",
    "generate": "generation.completions",
    "logprobs": "generation.completions",
    "Direction": "interventions.intervention",
    "Intervention": "interventions.intervention",
    "compose": "interventions.intervention",
    "unsteered": "interventions.intervention",
    "Ledger": "generation.ledger",
    "HookedLM": "models.loading",
    "load": "models.loading",
    "wrap": "models.loading",
    "Moments": "capture.moments",
    "Race": "sweeps.racing",
    "race": "sweeps.racing",
    "Run": "results.run",
    "open_run": "results.run",
    "select_layer": "sweeps.selection",
    "Site": "models.sites",
    "Cell": "sweeps.grid",
    "sweep": "sweeps.grid",
    "SteeringVector": "vectors.steering_vector",
    "SteppedVector": "vectors.stepped_vector",
    "Gauge": "vectors.strength",
    "Strength": "vectors.strength",
    "Trace": "generation.tracing",
    "trace": "generation.tracing",
    "TransportMaps": "vectors.transport",
    "fit_transport": "vectors.transport",
    "fit": "vectors.fitting",
    "fit_steps": "vectors.fitting",
}
__all__ = ["__version__", *_MODULES, *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
