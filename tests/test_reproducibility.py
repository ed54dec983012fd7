"""What is run twice comes out twice: answers, whatever is beside them, and results, to the byte."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import interp_steer as ist
from interp_steer.results.run import Run

ROOT = Path(__file__).parents[1]
PROMPTS = [
    "Tell me about the castle.",
    "Sea?",
    "What is a whale? Answer in lowercase, and use at most three commas, please.",
    "List five things.",
    "Tell me about the castle.",
]
DRAWN = ist.Sampling(temperature=0.9, top_p=0.95, seed=5)

some_models = pytest.mark.parametrize("model", ["llama3", "gemma2", "gpt2"], indirect=True)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """PyTorch's threads, while it lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def steering(model: ist.HookedLM) -> list[ist.Intervention]:
    """One for each prompt, none of them alike."""
    at, drawn = ist.Site("resid_post", 1), torch.Generator().manual_seed(3)
    vector = torch.randn(model.d_model, generator=drawn)
    d = ist.Direction(vector, 2.0, "d", at, at, model.name, model.n_layers, model.d_model)
    return [ist.unsteered, d.add(3.0), d.project(), d.ablate(), d.add(-2.0, "generated")]


Answer = Callable[..., list[ist.Completion]]


@pytest.fixture
def answer(model: ist.HookedLM) -> Answer:
    """Answers the prompts, with any options."""

    def answered(**options: object) -> list[ist.Completion]:
        return ist.generate(model, PROMPTS, steering(model), max_new_tokens=12, **options)

    return answered


@some_models
@pytest.mark.parametrize("sampling", [None, DRAWN], ids=["greedy", "drawn"])
def test_neither_threads_nor_batches_change_an_answer(
    answer: Answer, sampling: ist.Sampling | None
) -> None:
    with threads(1):
        expected = answer(sampling=sampling)
    for number, size in ((1, 1), (1, 2), (2, 5)):
        with threads(number):
            assert answer(sampling=sampling, batch_size=size) == expected


@some_models
def test_draws_are_a_seeds_own(answer: Answer) -> None:
    """Whatever else draws, before or between, and whatever it was seeded with."""
    greedy, drawn = answer(), answer(sampling=DRAWN)
    for seed in (0, 1):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        torch.rand(seed + 1)
        assert answer(sampling=DRAWN) == drawn
        assert answer() == greedy
    other = answer(sampling=ist.Sampling(temperature=0.9, top_p=0.95, seed=6))
    assert [one.tokens for one in other] != [one.tokens for one in drawn]
    assert torch.initial_seed() == 1  # nor is any generator seeded for others


def test_the_bundled_model_answers_alike_on_any_threads(burattino_instruct: ist.HookedLM) -> None:
    pairs = ist.world.instruction("punctuation:no_comma", fit=6, select=3, test=1)
    vectors, answers = [], []
    for number in (1, 2):
        with threads(number):
            vectors.append(ist.fit(burattino_instruct, pairs))
            steer = vectors[0].at(5).project()
            answers.append(
                ist.generate(burattino_instruct, pairs.select.absent, steer, max_new_tokens=12)
            )
    assert answers[0] == answers[1]
    torch.testing.assert_close(vectors[0].directions, vectors[1].directions, atol=1e-5, rtol=1e-4)


ANALYSIS: dict[str, tuple[object, ...]] = {
    "model": ("burattino-tiny",),
    "reference": ("burattino-tiny",),
    "instruction": ("punctuation:no_comma", "change_case:english_lowercase"),
    "layers": (1, 2),
    "n-fit": (8,),
    "n-select": (6,),
    "max-new-tokens": (16,),
    "seed": (3,),
}
"""The options of a small layer_sweep."""


def test_an_analysis_leaves_the_same_files_in_every_process(tmp_path: Path) -> None:
    """But for those that say when it was run. Texts hash otherwise in each of the processes."""
    options = [part for name, values in ANALYSIS.items() for part in (f"--{name}", *values)]
    running = []
    for number in (1, 2):
        told = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(number)}
        results = ["--results", str(tmp_path / str(number))]
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "analyses", "layer_sweep", *map(str, options), *results],
                cwd=ROOT,
                env=os.environ | told | {"BROWSER_PATH": str(tmp_path / "none")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    said = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    folders = [Path(text.strip().splitlines()[-1]) for text in said]
    sums = []
    for folder in folders:
        run = Run.read(folder)
        assert run.records().height == 2 * 2 * (1 + 2) * 6
        sums.append(
            {
                path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(folder.rglob("*"))
                if path.is_file() and path.name not in ("provenance.json", "manifest.json")
            }
        )
    assert sums[0] == sums[1]
    assert {"records.parquet", "summary.json", "config.json"} <= sums[0].keys()
    assert any(name.startswith("vectors.") for name in sums[0])
