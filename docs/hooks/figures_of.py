"""Takes figures of finished results folders into the pages of the analyses, with their captions.

``python docs/hooks/figures_of.py results`` prints, for every analysis below a root, the figure that
stands for it, as a PNG for one column, into ``docs/images/analyses``. What is not found again is
left as it is.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from figures.command_line import read_runs
from figures.printing.export import export
from interp_steer.results.finished import Results

HOME = Path(__file__).parents[1] / "images" / "analyses"

CHOSEN = {
    "adaptation_baselines": ("benefit_against_cost",),
    "causality": ("effects_log-probability",),
    "cross_architecture": ("quality", "answers"),
    "format_steering": ("accuracy_by_setting",),
    "head_geometry": ("head_shares", "steer_by_heads"),
    "language_steering": ("in_language_by_schedule",),
    "layer_geometry": ("projections",),
    "layer_sweep": ("accuracy_by_layer", "accuracy_against_damage"),
    "linearity": ("auroc", "obeys"),
    "model_scale": ("success_by_depth_0.3kl",),
    "propagation": ("survival", "toward_fitted"),
    "stability": ("cosine", "pairs"),
    "subspaces": ("cosines",),
    "word_steering": ("accuracy_by_task",),
}
"""Of analyses that are not best told by the first figure that they draw."""


def taken(run: Results) -> list[Path]:
    """Print the figures that stand for a run; returns the files."""
    names = [name for name in CHOSEN.get(run.analysis, ()) if name in run.captions]
    names = names or list(run.captions)[:1]
    home, files = HOME / run.analysis, []
    with tempfile.TemporaryDirectory() as aside:
        for name in names:
            for printed in export([run], ("png",), match=name, out=Path(aside), root=run.path):
                home.mkdir(parents=True, exist_ok=True)
                files.append(Path(shutil.copy(printed, home / f"{name}.png")))
    if files:
        for old in set(home.glob("*.png")) - set(files):
            old.unlink()
        said = {name: run.captions[name] for name in names}
        text = json.dumps(said, indent=2, ensure_ascii=False)
        (home / "captions.json").write_text(text + "\n", "utf-8")
    return files


if __name__ == "__main__":
    latest: dict[str, Results] = {}
    for run in read_runs(Path(sys.argv[1])):
        other = latest.get(run.analysis)
        if other is None or run.path.stat().st_mtime > other.path.stat().st_mtime:
            latest[run.analysis] = run
    for run in latest.values():
        print(*taken(run), sep="\n")
