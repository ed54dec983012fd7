"""The rivals themselves: they load our files, we load theirs, and the logits are equal.

``make test-interchange`` makes the environments of repeng and steering-vectors; lm-eval is in ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import interp_steer as ist
from interp_steer.errors import InterchangeWarning
from interp_steer.interventions import Intervention
from interp_steer.model import HookedLM
from tests.test_interchange import vector_for

ENVIRONMENTS = Path(os.environ.get("PEERS", Path(__file__).parents[1] / ".peers"))
TOKENS = [[5, 17, 200, 31, 8, 99, 140, 3, 77, 210]]

pytestmark = pytest.mark.slow


def logits_of(model: HookedLM, steer: Intervention) -> Tensor:
    with model.steered(steer) as bridge, torch.no_grad():
        return bridge(torch.tensor(TOKENS))


def equal(ours: Tensor, theirs: Tensor, plain: Tensor) -> None:
    """To 1e-4, and far from what nothing steered."""
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    assert float((theirs - plain).abs().max()) > 0.1


@pytest.mark.parametrize("architecture", ["llama2", "gpt2"])
@pytest.mark.parametrize("rival", ["repeng", "steering_vectors"])
def test_a_rival_and_we_read_each_other(
    rival: str,
    architecture: str,
    checkpoint: Callable[[str], Path],
    tiny: Callable[[str], HookedLM],
    tmp_path: Path,
) -> None:
    python = ENVIRONMENTS / rival / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"{python} is missing: make test-interchange makes it")
    model = tiny(architecture)
    vector = vector_for(model)
    suffix = "gguf" if rival == "repeng" else "pt"
    ours, theirs, out = (tmp_path / name for name in (f"ours.{suffix}", f"theirs.{suffix}", "out"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterchangeWarning)
        ist.interchange.write(vector, ours, format=rival, model=model)
    work = {
        "folder": str(checkpoint(architecture)),
        "tokens": TOKENS,
        "ours": str(ours),
        "theirs": str(theirs),
        "out": str(out),
    }
    (tmp_path / "work.json").write_text(json.dumps(work))
    script = Path(__file__).parent / "rivals" / f"{rival}_logits.py"
    ran = subprocess.run(
        [str(python), str(script), str(tmp_path / "work.json")], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    said = torch.load(out, weights_only=True)
    equal(logits_of(model, ist.unsteered), said["none"], said["ours"])
    first = 1 if rival == "repeng" else 0
    written = ist.compose(vector.at(layer).shift(0.5) for layer in range(first, model.n_layers))
    equal(logits_of(model, written), said["ours"], said["none"])
    options = {"keep_last": True} if rival == "repeng" else {}
    back = ist.interchange.read(theirs, model=model, **options)
    assert back.layers == tuple(range(first, model.n_layers))
    equal(logits_of(model, back.shift(1.0, positions="all")), said["theirs"], said["none"])


@pytest.mark.parametrize("architecture", ["llama3", "gemma2", "gpt2"])
def test_lm_eval_steers_by_our_file_as_we_do(
    architecture: str,
    checkpoint: Callable[[str], Path],
    tiny: Callable[[str], HookedLM],
    tmp_path: Path,
) -> None:
    from lm_eval.models.hf_steered import SteeredModel

    model = tiny(architecture)
    vector, path = vector_for(model), tmp_path / "steer.pt"
    plain = logits_of(model, ist.unsteered)
    for steer in (
        vector.at(1).shift(0.5) + vector.at(1).add(2.0) + vector.at(3).shift(1.0),
        vector.at(2).project(),
        vector.at(0).shift(1.0) + vector.at(2).ablate(),
        vector_for(model, "mlp_out").at(1).shift(1.0),
    ):
        assert ist.interchange.write(steer, path, format="lm_eval", model=model) == ()
        rival = SteeredModel(
            pretrained=str(checkpoint(architecture)),
            steer_path=str(path),
            device="cpu",
            dtype="float32",
        )
        with torch.no_grad():
            theirs = rival._model_call(torch.tensor(TOKENS))
        equal(logits_of(model, steer), theirs, plain)
        if "resid_post" in str(steer) and len(steer.edits) == 1:
            back = ist.interchange.read(path, model=model)
            equal(logits_of(model, back.at(2).project()), theirs, plain)
