"""The rivals themselves: they load our files, we load theirs, and the logits are equal.

``make test-interchange`` makes the environments of repeng and steering-vectors, ``make test-vllm``
that of vLLM; lm-eval is in ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import interp_steer as ist
from interp_steer.errors import InterchangeError, InterchangeWarning
from interp_steer.interventions.intervention import Intervention
from interp_steer.models import bundled
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site
from tests.support.foreign import vector_for

ENVIRONMENTS = Path(os.environ.get("PEERS", Path(__file__).parents[2] / ".peers"))
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
    script = Path(__file__).parents[1] / "rivals" / f"{rival}_logits.py"
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


def served(
    folder: Path, tmp_path: Path, batches: list[list[dict[str, Any]]], caching: bool = False
) -> tuple[list[list[dict[str, Any]]], dict[str, Any], Path]:
    """What vLLM answers to batches of requests, and to its own file in the first one's place."""
    python = ENVIRONMENTS / "vllm_lens" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"{python} is missing: make test-vllm makes it")
    work = {
        "folder": str(folder),
        "caching": caching,
        "batches": batches,
        "theirs": str(tmp_path / "theirs.json"),
        "out": str(tmp_path / "out"),
    }
    (tmp_path / "work.json").write_text(json.dumps(work))
    script = Path(__file__).parents[1] / "rivals" / "vllm_logprobs.py"
    ran = subprocess.run(
        [str(python), str(script), str(tmp_path / "work.json")], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    said = torch.load(tmp_path / "out", weights_only=True)
    return said["batches"], said["theirs"], tmp_path / "theirs.json"


def request(tokens: list[int], vectors: Path | None, salted: bool = False) -> dict[str, Any]:
    text = None if vectors is None else vectors.read_text("utf-8")
    salt = hashlib.sha256(str(text).encode()).hexdigest() if salted else None
    return {"tokens": tokens, "vectors": text, "salt": salt}


def logprobs_of(
    model: HookedLM, steer: Intervention, tokens: list[int], answer: dict[str, Any]
) -> Tensor:
    """Ours of the same answer, in one pass over all of it."""
    with model.steered(steer) as bridge, torch.no_grad():
        logits = bridge(torch.tensor([tokens + answer["ids"][:-1]]))[0, len(tokens) - 1 :]
    return logits.log_softmax(-1)


def wide_heads(folder: Path, tmp_path: Path) -> Path:
    """The same weights in two heads of 32 numbers: vLLM has no kernel for heads of 16."""
    copied = shutil.copytree(folder, tmp_path / "wide")
    config = json.loads((copied / "config.json").read_text("utf-8"))
    (copied / "config.json").write_text(json.dumps(config | {"n_head": 2}))
    return copied


@pytest.mark.parametrize("name", ["burattino-instruct", "burattino-gemma", "gpt2"])
def test_vllm_steers_each_request_of_a_batch_by_its_own_file(
    name: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = (
        bundled.bundled_path(name) if name != "gpt2" else wide_heads(checkpoint(name), tmp_path)
    )
    model = ist.load(folder, device="cpu")
    vector, (tokens,) = vector_for(model), TOKENS
    steers = [
        ist.compose(vector.at(layer).shift(1.0) for layer in vector.layers),
        vector.at(1).shift(0.5) + vector.at(1).add(2.0),
        vector.at(model.n_layers - 1).shift(1.0),
        ist.unsteered,
    ]
    written: list[Path | None] = [tmp_path / f"{number}.json" for number in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InterchangeWarning)
        for what, path in zip([vector, *steers[1:]], written, strict=False):
            ist.interchange.write(what, path, format="vllm_lens", model=model)  # type: ignore[arg-type]
    batch = [request(tokens, path) for path in [*written, None]]
    ((*steered, plain),), theirs, own = served(folder, tmp_path, [batch])
    for steer, answer in zip(steers, [*steered, plain], strict=True):
        ours = logprobs_of(model, steer, tokens, answer)
        torch.testing.assert_close(ours, answer["logprobs"], atol=1e-4, rtol=0)
        moved = float((ours - logprobs_of(model, ist.unsteered, tokens, answer)).abs().max())
        assert (moved > 0.1) == (steer is not ist.unsteered)
    back = ist.interchange.read(own, model=model)
    assert back.layers == vector.layers
    ours = logprobs_of(model, back.shift(1.0, positions="all"), tokens, theirs)
    torch.testing.assert_close(ours, theirs["logprobs"], atol=1e-4, rtol=0)


def test_vllm_leaves_steered_prefixes_in_the_cache_unless_they_are_salted(tmp_path: Path) -> None:
    model = ist.load("burattino-instruct", device="cpu")
    steer, path = vector_for(model).at(1).shift(1.0), tmp_path / "request.json"
    ist.interchange.write(steer, path, format="vllm_lens", model=model)
    drawn = torch.randint(5, 3000, (2, 300), generator=torch.Generator().manual_seed(5)).tolist()
    batches = [
        [request(drawn[0], path)],
        [request(drawn[0], None)],
        [request(drawn[1], path, salted=True)],
        [request(drawn[1], None)],
    ]
    found, _, _ = served(
        bundled.bundled_path("burattino-instruct"), tmp_path, batches, caching=True
    )
    apart = [
        [
            float((logprobs_of(model, each, tokens, answer) - answer["logprobs"]).abs().max())
            for each in (steer, ist.unsteered)
        ]
        for tokens, (answer,) in zip([drawn[0]] * 2 + [drawn[1]] * 2, found, strict=True)
    ]
    assert apart[0][0] < 1e-4 and apart[2][0] < 1e-4
    assert apart[1][1] > 0.1  # which nothing steered, and which read what something steered left
    assert apart[3][1] < 1e-4


def test_vllm_lens_counts_positions_from_the_start_of_each_pass(tmp_path: Path) -> None:
    """Why no positions are written: 0 is the first token of the prompt, and each generated one."""
    model = ist.load("burattino-instruct", device="cpu")
    vector, path, (tokens,) = vector_for(model), tmp_path / "request.json", TOKENS
    ist.interchange.write(vector.at(1).shift(1.0), path, format="vllm_lens", model=model)
    (said,) = json.loads(path.read_text("utf-8"))
    said |= {"position_indices": [0]}
    said["activations"]["shape"].insert(1, 1)
    path.write_text(json.dumps([said]))
    with pytest.raises(InterchangeError, match=r"shape \(1, 1, 160\), for 1 positions"):
        ist.interchange.read(path, model=model)
    folder = bundled.bundled_path("burattino-instruct")
    (((answer,),), _, _) = served(folder, tmp_path, [[request(tokens, path)]])

    def logprobs(positions: list[int]) -> Tensor:
        ids = torch.tensor([tokens + answer["ids"][:-1]])
        here = torch.zeros(ids.shape[1], 1)
        here[positions] = 1.0
        hook = (Site("resid_post", 1).hook_name, lambda x, hook: x + here * vector.directions[1])
        with torch.no_grad():
            logits = model.bridge.run_with_hooks(ids, fwd_hooks=[hook])
        return logits[0, len(tokens) - 1 :].log_softmax(-1)

    generated = range(len(tokens), len(tokens) + len(answer["ids"]) - 1)
    torch.testing.assert_close(logprobs([0, *generated]), answer["logprobs"], atol=1e-4, rtol=0)
    assert float((logprobs([0]) - answer["logprobs"]).abs().max()) > 0.1
