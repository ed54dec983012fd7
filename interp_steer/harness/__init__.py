"""lm-evaluation-harness under steering: a model named ``interp_steer``, and tasks.

Importing this package registers the model, so that ``lm_eval.simple_evaluate`` finds it by its
name. The plain ``lm_eval`` command has no way to find models of other packages; ``python -m
interp_steer.harness`` is that command with the model and the tasks in it:

    python -m interp_steer.harness --model interp_steer --tasks burattino_arc_it \\
        --model_args "pretrained=burattino-base,vector=italian.safetensors,operation=shift,\\
    coefficient=1.5,schedule=diminishing(30)"
"""

from __future__ import annotations

from pathlib import Path

from interp_steer.harness.likelihoods import Likelihood, likelihoods
from interp_steer.harness.steered_lm import SteeredLM
from interp_steer.harness.steering import intervention

TASKS = Path(__file__).parent / "tasks"
"""The folder of the tasks, for ``TaskManager(include_path=...)``."""

__all__ = ["TASKS", "Likelihood", "SteeredLM", "intervention", "likelihoods"]
