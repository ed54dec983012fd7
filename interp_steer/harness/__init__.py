"""lm-evaluation-harness under steering: a model named ``interp_steer``, and tasks.

Importing this package registers the model, so that ``lm_eval.simple_evaluate`` finds it by its
name. The plain ``lm_eval`` command has no way to find models of other packages; ``python -m
interp_steer.harness`` is that command with the model and the tasks in it:

    python -m interp_steer.harness --model interp_steer --tasks burattino_arc_it \\
        --model_args "pretrained=burattino-base,vector=italian.safetensors,operation=shift,\\
    coefficient=1.5,schedule=diminishing(30)"
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lm_eval.models  # noqa: F401  registers the harness's own, which it does where it knows none
from lm_eval.api.registry import model_registry

if TYPE_CHECKING:
    from interp_steer.harness.steered_lm import SteeredLM as SteeredLM
    from interp_steer.harness.steering import intervention as intervention

TASKS = Path(__file__).parent / "tasks"
"""The folder of the tasks, for ``TaskManager(include_path=...)``."""

# PyTorch takes seconds to import, so that the model is imported when the harness asks for it.
_HOMES = {"SteeredLM": "steered_lm", "intervention": "steering"}
__all__ = ["TASKS", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]

model_registry.register("interp_steer", target=f"{__name__}.steered_lm:SteeredLM")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
