"""The benchmark's parts: turns, ratios, the papers' loop, and peers that fail."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import interp_steer as ist
from analyses.kit.cli import command_line
from analyses.speed.checkpoints import texts
from analyses.speed.peer import Peer
from analyses.speed.timing import Contender, Lap, alternate, answer, ratio
from interp_steer.errors import RunError
from interp_steer.results.finished import find
from interp_steer.results.run import Run


def test_contenders_take_turns_and_the_first_lap_does_not_count() -> None:
    turns: list[tuple[str, int]] = []

    def contender(name: str, rate: float) -> Contender:
        def lap(number: int) -> Lap:
            turns.append((name, number))
            return Lap(rate * (number + 2), 1.0)

        return Contender(name, lap)

    rates = alternate([contender("a", 4.0), contender("b", 2.0)], laps=2)
    assert turns == [("a", -1), ("b", -1), ("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert rates == {"a": [8.0, 12.0], "b": [4.0, 6.0]}
    found = ratio(rates["a"], rates["b"])
    assert (found.value, found.low, found.high, found.n) == (2.0, 2.0, 2.0, 2)


def test_the_papers_loop_answers_as_generate_does(model: ist.HookedLM) -> None:
    prompts = ["Tell me about the sea.", "List five things."]
    pairs = ist.contrast.build("x", texts(6, 0, 3, 6), texts(3, 1, 2, 3), fit=2, select=2, test=2)
    steer = ist.fit(model, pairs.fit).at(1).project()
    for prompt, tokens in zip(prompts, model.tokenize(prompts), strict=True):
        quick = ist.generate(model, [prompt], steer, max_new_tokens=8)[0]
        assert answer(model, tokens, steer, 8) == list(quick.tokens)


def test_a_peer_does_laps_and_says_why_it_died(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text(
        "import sys\nprint('{}', flush=True)\nfor n, line in enumerate(sys.stdin):\n"
        "    print('noise')\n"
        '    print(\'{"units": 3, "seconds": 1.5, "wrong": %d}\' % n, flush=True)\n'
        "    if n == 1:\n        raise SystemError('out of luck')\n"
    )
    work = tmp_path / "work.json"
    work.write_text(json.dumps({}))
    peer = Peer("other", Path(sys.executable), script, work)
    assert peer.contender.lap(0).rate == 2.0
    with pytest.raises(RunError, match="other gave 1 of 3 answers in other tokens"):
        peer.contender.lap(1)
    with pytest.raises(RunError, match=r"other ended with 1: .*out of luck; its log is"):
        peer.contender.lap(2)


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path, capsys, burattino_instruct, burattino_base) -> None:
    arguments = "--sizes --laps 1 --n-pairs 8 --n-prompts 2 --max-new-tokens 6 --loop-answers 1"
    checkpoints = ["--checkpoints", str(tmp_path / "models")]
    assert (
        command_line(["benchmark", *arguments.split(), *checkpoints, "--results", str(tmp_path)])
        == 0
    )
    (results,) = map(Run.read, find(tmp_path))
    assert capsys.readouterr().out.strip().splitlines()[-1] == str(results.path)
    for key in (
        "sweep.over_reference_loop",
        "sweep.racing_over_reference_loop",
        "decode.over_hf_generate",
        "capture.over_forward",
    ):
        assert results.summary[f"{key}.burattino-instruct"] > 0
