"""Run lm-evaluation-harness under steering: a model named ``interp_steer``, and tasks.

Importing this package registers the model, so that ``lm_eval.simple_evaluate`` finds it by its
name. The plain ``lm_eval`` command cannot find models of other packages; ``python -m
interp_steer.harness`` is that command with the model and the tasks in it:

    python -m interp_steer.harness --model interp_steer --tasks burattino_arc_it \\
        --model_args "pretrained=burattino-base,vector=italian.safetensors,operation=shift,\\
    coefficient=1.5,schedule=diminishing(30)"

The package may import from every package of :mod:`interp_steer` but :mod:`interp_steer.burattino`.
"""

from __future__ import annotations

from pathlib import Path

import lazy_loader
import lm_eval.models  # noqa: F401  registers lm-eval's own models, only while it knows none
from lm_eval.api.registry import model_registry

TASKS = Path(__file__).parent / "tasks"
"""The folder of the tasks, for ``TaskManager(include_path=...)``."""

# PyTorch takes seconds to import, so the model is imported only when lm-eval asks for it.
__getattr__, __dir__, _public = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["TASKS", *_public]  # pyright: ignore[reportUnsupportedDunderAll]

model_registry.register("interp_steer", target=f"{__name__}.steered_lm:SteeredLM")
