"""Run lm-eval's command line with the model ``interp_steer`` and the tasks of this package.

All arguments are lm-eval's own: ``python -m interp_steer.harness --help``.
"""

from __future__ import annotations

from argparse import Namespace

from lm_eval._cli import HarnessCLI
from lm_eval.config.evaluate_config import EvaluatorConfig
from lm_eval.utils import setup_logging

from interp_steer.harness import TASKS


def main() -> None:
    """Run the command line."""
    setup_logging()
    line = HarnessCLI()
    line.execute(_with_our_tasks(line.parse_args()))


def _with_our_tasks(arguments: Namespace) -> Namespace:
    """Return the arguments with our tasks before those of the user's ``--include_path``."""
    theirs = getattr(arguments, "include_path", None)
    config = getattr(arguments, "config", None)
    if theirs is None and config is not None:
        theirs = EvaluatorConfig.load_yaml_config(config).get("include_path")
    arguments.include_path = [str(TASKS), *([] if theirs is None else [theirs])]
    return arguments


if __name__ == "__main__":
    main()
