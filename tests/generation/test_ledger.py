"""Answers are computed once, under a key of everything that can change them."""

from __future__ import annotations

import copy
import multiprocessing
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import interp_steer as ist
from interp_steer.errors import GenerationError
from interp_steer.generation import ledger as ledger_module
from interp_steer.generation.completions import generate
from interp_steer.generation.ledger import Ledger, compute_keys, hash_sources
from interp_steer.generation.request import Answer
from interp_steer.generation.sampling import Sampling
from interp_steer.interventions.intervention import Direction, unsteered
from interp_steer.models.hooked_lm import HookedLM
from interp_steer.models.sites import Site

PROMPTS = ["Tell me about the sea.", "List five things.", "Sea?", "Two kings met on a bridge."]


def direction(model: HookedLM, seed: int = 0) -> Direction:
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    at = Site("resid_post", 1)
    return Direction(vector, 6.0, "d", at, at, model.name, model.n_layers, model.d_model)


class Counted:
    """How many positions a model runs while the block lasts."""

    def __init__(self, model: HookedLM) -> None:
        self._embedding = model.plain.get_input_embeddings()
        self.positions = 0

    def __enter__(self) -> Counted:
        def count(_: object, args: tuple[torch.Tensor, ...]) -> None:
            self.positions += args[0].numel()

        self._handle = self._embedding.register_forward_pre_hook(count)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


def test_what_the_ledger_has_is_not_computed_again(model: HookedLM, tmp_path: Path) -> None:
    steer = direction(model).project()
    plain = generate(model, PROMPTS, steer, max_new_tokens=6)
    path = tmp_path / "deep" / "answers.jsonl"
    first = generate(model, PROMPTS[:2], steer, max_new_tokens=6, ledger=Ledger(path))
    ledger = Ledger(path)
    assert first == plain[:2] and len(ledger) == 2
    extended = generate(model, PROMPTS, steer, max_new_tokens=6, ledger=ledger)
    assert extended == plain and ledger.reused == 2 and len(Ledger(path)) == 4
    with Counted(model) as ran:
        assert generate(model, PROMPTS, steer, max_new_tokens=6, ledger=Ledger(path)) == plain
    assert ran.positions == 0


def test_rows_that_cannot_differ_are_decoded_once(model: HookedLM, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "answers.jsonl")
    thrice = generate(model, PROMPTS[:1] * 3, max_new_tokens=5, ledger=ledger)
    assert len(ledger) == 1 and thrice == generate(model, PROMPTS[:1] * 3, max_new_tokens=5)
    drawn = Sampling(seed=3)
    fresh = Ledger(tmp_path / "drawn.jsonl")
    several = generate(model, PROMPTS[:1] * 3, max_new_tokens=5, sampling=drawn, ledger=fresh)
    assert len(fresh) == 3
    assert several == generate(model, PROMPTS[:1] * 3, max_new_tokens=5, sampling=drawn)


def test_everything_that_can_change_an_answer_is_in_its_key(model: HookedLM) -> None:
    d = direction(model)
    nudged = replace(d, vector=d.vector + 1e-3)
    d_target = replace(d, target=6.000001)

    def key(fingerprint="f", prompt=(1, 2), steer=unsteered, choice="greedy", **settings):
        return compute_keys(fingerprint, [prompt], [steer], [choice], **{"stops": [1], **settings})[
            0
        ]

    different = [
        key(), key("g"), key(prompt=(1, 3)), key(steer=d.add(1.0)), key(steer=d.add(1.5)),
        key(steer=d.add(1.0, "generated")), key(steer=nudged.add(1.0)), key(steer=d.project()),
        key(steer=d_target.project()), key(steer=d.add(1.0) + d.ablate()),
        key(steer=d.ablate() + d.add(1.0)), key(choice="drawn"), key(stops=[2]),
    ]  # fmt: skip
    assert len(set(different)) == len(different)
    assert key(steer=d.add(1.0)) == key(steer=copy.deepcopy(d).add(1.0))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the sources of the library, with nothing but the Python files."""
    source = Path(ist.__file__).parent
    copied = tmp_path_factory.mktemp("library") / "interp_steer"
    for path in source.rglob("*.py"):
        target = copied / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return copied


def hash_with_a_changed_byte(package: Path, name: str) -> str:
    content = (package / name).read_bytes()
    try:
        (package / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
        return hash_sources(package)
    finally:
        (package / name).write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        *("models/hooked_lm.py", "models/backends/bridge.py", "models/backends/protocol.py"),
        *("interventions/hooks.py", "interventions/notation.py"),
        *("generation/decoding.py", "generation/__init__.py"),
    ],
)
def test_code_that_can_change_an_answer_changes_its_key(package: Path, name: str) -> None:
    assert hash_with_a_changed_byte(package, name) != hash_sources(package)


@pytest.mark.parametrize(
    "name", ["notebook.py", "errors.py", "vectors/hub.py", "vectors/card.py", "scoring/judge.py"]
)
def test_other_code_leaves_the_stored_answers(package: Path, name: str) -> None:
    assert hash_with_a_changed_byte(package, name) == hash_sources(package)


def test_a_renamed_source_changes_the_key(package: Path, tmp_path: Path) -> None:
    before = hash_sources(package)
    (package / "models" / "sites.py").rename(package / "models" / "places.py")
    try:
        assert hash_sources(package) != before
    finally:
        (package / "models" / "places.py").rename(package / "models" / "sites.py")


def test_the_key_is_of_the_sources_that_run(
    model: HookedLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> list[str]:
        ledger_module._identify_program.cache_clear()
        return compute_keys("f", [[1, 2]], [unsteered], ["greedy"])

    hashed: list[Path] = []
    before = key()
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "hash_sources", lambda root: hashed.append(root) or "changed")
        assert key() != before
    assert hashed == [Path(ist.__file__).parent] and key() == before


def test_a_model_whose_weights_changed_answers_anew(
    model: HookedLM, tiny_copy: HookedLM, tmp_path: Path
) -> None:
    path = tmp_path / "answers.jsonl"
    before = generate(model, PROMPTS, max_new_tokens=5, ledger=Ledger(path))
    with torch.no_grad():
        for parameter in tiny_copy.plain.parameters():
            parameter.mul_(-1.5)
    ledger = Ledger(path)
    after = generate(tiny_copy, PROMPTS, max_new_tokens=5, ledger=ledger)
    assert ledger.reused == 0 and after != before
    assert after == generate(tiny_copy, PROMPTS, max_new_tokens=5)


@pytest.fixture
def tiny_copy(checkpoint, tmp_path: Path) -> HookedLM:
    import interp_steer as ist

    return ist.load(checkpoint("llama3"), device="cpu")


texts = st.text(max_size=30)
kepts = st.builds(Answer, texts, st.lists(st.integers(0, 10**6)).map(tuple), st.just("stop"))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.uuids().map(str), kepts, min_size=1, max_size=6), st.data())
def test_a_torn_or_altered_line_is_passed_over(tmp_path, answers, data) -> None:
    path = tmp_path / "answers.jsonl"
    path.unlink(missing_ok=True)
    written = Ledger(path)
    for key, kept in answers.items():
        written.keep(key, kept)
    again = Ledger(path)
    assert {key: again.take(key) for key in answers} == answers and again.damaged == 0
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    torn = Ledger(path)
    assert len(torn) >= whole[:cut].count(b"\n") and torn.damaged <= 1
    torn.keep("new", Answer("whole", (1,), "stop"))  # a torn line does not spoil the next one
    assert Ledger(path).take("new").text == "whole"
    place = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    altered = Ledger(path)
    for key in answers:
        assert key not in altered or altered.take(key) == answers[key]


def _append(path: Path, name: str) -> None:
    ledger = Ledger(path)
    for index in range(40):
        ledger.keep(f"{name}{index}", Answer(name * 200, tuple(range(50)), "stop"))


def test_two_processes_append_to_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=_append, args=(path, name)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ledger = Ledger(path)
    assert len(ledger) == 120 and ledger.damaged == 0


KILLED = """
import sys
import interp_steer as ist
from interp_steer.generation.ledger import Ledger
model = ist.load(sys.argv[1], device="cpu", check=False)
prompts = [f"Tell me {n} things about the sea." for n in range(60)]
print("ready", flush=True)
ist.generate(model, prompts, max_new_tokens=24, batch_size=4, ledger=Ledger(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kill_after", [3, 11, 29])
def test_a_killed_sweep_goes_on(model: HookedLM, checkpoint, tmp_path, kill_after: int) -> None:
    path = tmp_path / "answers.jsonl"
    command = [sys.executable, "-c", KILLED, str(checkpoint("llama3")), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while not path.exists() or path.read_bytes().count(b"\n") < kill_after:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    kept = Ledger(path)
    assert kill_after <= len(kept) < 60
    prompts = [f"Tell me {n} things about the sea." for n in range(60)]
    resumed = generate(model, prompts, max_new_tokens=24, batch_size=4, ledger=kept)
    assert kept.reused == len(Ledger(path)) - (60 - kept.reused)
    assert resumed == generate(model, prompts, max_new_tokens=24, batch_size=4)


def test_what_a_ledger_cannot_know_or_write_is_refused(model: HookedLM, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "answers.jsonl")
    with (
        model.steered(direction(model).add(3.0)),
        pytest.raises(GenerationError, match="hooks of your own"),
    ):
        generate(model, PROMPTS, max_new_tokens=2, ledger=ledger)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GenerationError, match="could not be kept"):
        generate(model, PROMPTS, max_new_tokens=2, ledger=Ledger(tmp_path / "file" / "a.jsonl"))
    with pytest.raises(GenerationError, match="regular file; give another path"):
        Ledger(tmp_path)
