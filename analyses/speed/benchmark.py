"""Compare the speed of sweeps, decoding and capture with the papers' loop, Hugging Face and peers.

Contenders take turns in one process tree. Each result is the median over the laps of a ratio of
speeds, with its minimum and maximum. Where contenders do the same work, their answers are compared:
the tokens of greedy decoding, or the vectors. There are three models: a bundled one, and random
Llamas of 6 layers (d 256) and 12 layers (d 512) with a vocabulary of 32,000. A lap of the papers'
loop generates only a few answers, drawn from those of the sweep; its speed is counted per answer.

Each peer runs in its own environment, which ``make bench-peers`` makes. A peer without an
environment is left out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import torch

import interp_steer as ist
from analyses.speed.nodes import nodes
from analyses.speed.peer import Peer
from analyses.speed.timing import Contender, alternate, answer, ratio, time_lap
from analyses.speed.work import Work, draw_rows
from interp_steer.errors import RunError
from interp_steer.models import Through, batches_by_length
from interp_steer.statistics import Interval
from interp_steer.sweeps import breaks_instruction

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Config:
    """Size of the work."""

    model: str = "burattino-instruct"
    """Bundled model. Only its answers can be verified meaningfully."""
    sizes: tuple[str, ...] = ("small", "mid")
    """Random models."""
    laps: int = 5
    """Number of laps of each contender, after one to warm up."""
    n_prompts: int = 20
    """Number of prompts of the sweep."""
    n_spread: int = 60
    """Number of prompts of the sweep that is distributed over nodes. Distributing pays only for
    long sweeps."""
    max_new_tokens: int = 48
    """Maximum number of new tokens per answer."""
    loop_answers: int = 2
    """Number of answers in a lap of the papers' loop."""
    n_pairs: int = 256
    """Number of pairs whose activations are captured."""
    batch_size: int = 32
    """Number of rows in a batch of capture, and of the comparison with ``generate``."""
    threads: int | None = None
    """Threads of PyTorch. Default: the number of cores."""
    environments: Path = Path(".peers")
    """Folder of the environments of the peers."""
    checkpoints: Path = Path("results/.benchmark")
    """Folder for the random models."""


def main(config: Config, run: ist.Run) -> None:
    """Measure everything; leave the rates, the ratios and a table."""
    if config.threads:
        torch.set_num_threads(config.threads)
    rates: list[dict[str, object]] = []
    ratios: dict[str, Interval] = {}
    for name in (config.model, *config.sizes):
        work = Work.on(name, config.checkpoints, fit=config.n_pairs, select=config.n_prompts)
        run.used(work.model)
        parts: dict[str, Callable[[Work, Config], Rates]] = {
            "sweeping": time_sweep,
            "decoding": time_decoding,
            "capturing": time_capture,
        }
        if find_spec("ray") and name in (config.model, *config.sizes[:1]):
            parts["spreading"] = time_cluster  # a lap takes minutes on a larger model
        for part, measure in parts.items():
            part_ratios, laps = measure(work, config)
            ratios |= {f"{key}.{name}": value for key, value in part_ratios.items()}
            # The whole takes most of an hour, so each ratio is shown as soon as it is known.
            for key, value in part_ratios.items():
                print(f"{key}.{name}: {value}", flush=True)
            rates += [
                {"model": name, "part": part, "contender": who, "lap": lap, "rate": rate}
                for who, lap_rates in laps.items()
                for lap, rate in enumerate(lap_rates)
            ]
    if config.sizes:
        ratios["memory.10000_over_1000"] = measure_memory_growth(config.sizes[0], config)
    run.write_records(pl.DataFrame(rates))
    run.leave(summary={**ratios, "threads": torch.get_num_threads()})


Rates = tuple[dict[str, Interval], dict[str, list[float]]]
"""The ratios by name, and the rates of each contender."""


def time_sweep(work: Work, config: Config) -> Rates:
    """Measure answers per second of a sweep over all layers and of a race, against the loop."""
    model, rows = work.model, work.rows()
    size: dict[str, Any] = {"max_new_tokens": config.max_new_tokens, "batch_size": len(rows)}
    steering = [cell.steering for cell, _, _ in rows]
    swept = ist.generate(model, [prompt for _, prompt, _ in rows], steering, **size)

    def sweep(lap: int) -> float:
        return ist.sweep(model, work.grid, work.pairs.select, score=_skip_score, **size).height

    def race(lap: int) -> float:
        ist.race(model, work.grid, work.pairs.select, reference, settled=breaks_instruction, **size)
        return len(rows)

    def loop(lap: int) -> float:
        chosen = draw_rows(rows, config.loop_answers, lap)
        for row in chosen:
            cell, _, prompt = rows[row]
            tokens = answer(model, prompt, cell.steering, config.max_new_tokens)
            _check(tuple(tokens) == swept[row].tokens, f"answer {row} of the loop on {work.name}")
        return len(chosen)

    contenders = [_contender("sweep", sweep), _contender("loop", loop)]
    if work.name == config.model:  # random words cannot be verified
        reference = ist.load("burattino-base")
        contenders.append(_contender("race", race))
    laps = [
        [
            {"prompt": rows[row][2], "layer": rows[row][0].layer, "answer": swept[row].tokens}
            for row in draw_rows(rows, config.loop_answers, lap)
        ]
        for lap in range(-1, config.laps)
    ]
    directions = {layer: work.vector.at(layer) for layer in work.vector.layers}
    given = {
        "laps": laps,
        "max_new_tokens": config.max_new_tokens,
        "units": {layer: direction.unit.tolist() for layer, direction in directions.items()},
        "targets": {layer: direction.target for layer, direction in directions.items()},
    }
    with open_peers(("hooked_transformer",), work, config, **given) as others:
        rates = alternate([*contenders, *(other.contender for other in others)], config.laps)
    ratios = {"sweep.over_reference_loop": ratio(rates["sweep"], rates["loop"])}
    if "race" in rates:
        ratios["sweep.racing_over_reference_loop"] = ratio(rates["race"], rates["loop"])
    if "hooked_transformer" in rates:
        ratios["sweep.over_hooked_transformer"] = ratio(rates["sweep"], rates["hooked_transformer"])
    return ratios, rates


def time_decoding(work: Work, config: Config) -> Rates:
    """Measure tokens per second of steered decoding against bare ``generate``, in two ways.

    Steering runs through the plain twin, and through the hook points. The direction is added with a
    strength too small to change a token, so that all contenders decode the same tokens.
    """
    model, n = work.model, config.batch_size
    prompts = work.pairs.fit.absent[:n]
    steer = work.vector.at(model.n_layers // 2).add(1e-6)
    plain: Any = model.plain
    batch = model.pad(model.tokenize(prompts))

    def bare(lap: int) -> float:
        with torch.inference_mode():
            tokens: Any = plain.generate(
                batch.tokens,
                attention_mask=batch.attention_mask,
                max_new_tokens=config.max_new_tokens,
                do_sample=False,
            )
        answers = tokens[:, batch.tokens.shape[1] :].tolist()
        for row, completion in enumerate(steered):
            _check(
                tuple(answers[row][: len(completion.tokens)]) == completion.tokens,
                f"answer {row} of generate on {work.name}",
            )
        return sum(len(completion.tokens) for completion in steered)

    def ours(through: Through) -> list[ist.Completion]:
        return ist.generate(
            model,
            prompts,
            steer,
            max_new_tokens=config.max_new_tokens,
            batch_size=n,
            options=ist.GenerationOptions(through=through),
        )

    def count_tokens(through: Through) -> float:
        return sum(len(completion.tokens) for completion in ours(through))

    steered = ours("plain")
    rates = alternate(
        [
            _contender("generate", bare),
            _contender("steered", lambda lap: count_tokens("plain")),
            _contender("steered_through_hook_points", lambda lap: count_tokens("hook_points")),
        ],
        config.laps,
    )
    return {
        "decode.over_hf_generate": ratio(rates["steered"], rates["generate"]),
        "decode.hook_points_over_hf_generate": ratio(
            rates["steered_through_hook_points"], rates["generate"]
        ),
    }, rates


def time_capture(work: Work, config: Config) -> Rates:
    """Measure prompts per second of capturing the last position after every layer.

    Capture is compared with a bare forward pass without the head over the same batches, and with
    the capture of peers on the same pairs.
    """
    model, fit = work.model, work.pairs.fit
    prompts = [*fit.present, *fit.absent]
    rows = model.tokenize(prompts)
    order, batches = batches_by_length([len(row) for row in rows], config.batch_size)

    def bare(lap: int) -> float:
        with torch.no_grad():
            for batch in batches:
                padded = model.pad([rows[row] for row in order[batch]])
                model.plain.base_model(
                    input_ids=padded.tokens,
                    attention_mask=padded.attention_mask,
                    position_ids=padded.position_ids,
                    use_cache=False,
                )
        return len(prompts)

    def ours(lap: int) -> float:
        return ist.capture.capture_moments(
            model, prompts, options=ist.capture.CaptureOptions(batch_size=config.batch_size)
        ).prompts

    with open_peers(
        ("steering_vectors", "repeng"), work, config, batch_size=config.batch_size
    ) as others:
        contenders = [_contender("forward", bare), _contender("capture", ours)]
        rates = alternate([*contenders, *(other.contender for other in others)], config.laps)
        for other in others:
            theirs = other.do("vector")["layers"]
            # At the last layer, repeng returns the output of the final norm.
            for layer in work.vector.layers[: -1 if other.name == "repeng" else None]:
                mine = work.vector.directions[layer]
                distance = float((mine - torch.tensor(theirs[str(layer)])).norm() / mine.norm())
                _check(
                    distance < 1e-5,
                    f"layer {layer} of {other.name} on {work.name} ({distance:.1e})",
                )
    ratios = {"capture.over_forward": ratio(rates["capture"], rates["forward"])}
    for other in set(rates) - {"capture", "forward"}:
        ratios[f"capture.over_{other}"] = ratio(rates["capture"], rates[other])
    return ratios, rates


def time_cluster(work: Work, config: Config) -> Rates:
    """Measure answers per second of a sweep on two single-processor nodes, against one node."""
    size: dict[str, Any] = {"max_new_tokens": config.max_new_tokens, "score": _skip_score}
    work = Work.on(work.name, config.checkpoints, fit=32, select=config.n_spread)
    with nodes(3) as address, ExitStack() as stack:
        clusters = {
            name: stack.enter_context(ist.Cluster(work.model, address, workers=workers))
            for name, workers in (("one_node", 1), ("two_nodes", 2))
        }

        def sweep(cluster: ist.Cluster, lap: int) -> float:
            options = ist.GenerationOptions(cluster=cluster)
            return ist.sweep(
                work.model, work.grid, work.pairs.select, options=options, **size
            ).height

        contenders = [
            _contender(name, partial(sweep, cluster)) for name, cluster in clusters.items()
        ]
        rates = alternate(contenders, config.laps)
    return {"ray.two_nodes_over_one": ratio(rates["two_nodes"], rates["one_node"])}, rates


def measure_memory_growth(size: str, config: Config) -> Interval:
    """Measure how peak resident memory grows when ten times as many prompts are captured.

    Each measurement runs in a separate process.
    """
    peaks = {
        n: [
            float(
                subprocess.run(
                    [
                        sys.executable,
                        "-m",
                        "analyses.speed.timing",
                        size,
                        str(n),
                        str(config.checkpoints),
                    ],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for _ in range(3)
        ]
        for n in (1_000, 10_000)
    }
    return ratio(peaks[10_000], peaks[1_000])


@contextmanager
def open_peers(
    names: Sequence[str], work: Work, config: Config, **given: object
) -> Iterator[list[Peer]]:
    """Start the peers that have an environment, ready to take turns."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = []
        for name in names:
            python = config.environments / name / "bin" / "python"
            if python.exists():
                file = work.write(folder / f"{name}.json", **given)
                opened.append(Peer(name, python, PEERS / f"{name}_peer.py", file))
                stack.callback(opened[-1].close)
        yield opened


def _contender(name: str, work: Callable[[int], float]) -> Contender:
    """Return a contender that times its work."""
    return Contender(name, lambda lap: time_lap(partial(work, lap)))


def _skip_score(pair: Any, completion: ist.Completion) -> dict[str, Any]:
    """Return no score, so that scoring takes no time."""
    return {}


def _check(same: bool, what: str) -> None:
    """Raise an error where contenders differ."""
    if not same:
        raise RunError(f"{what} differs from that of interp_steer; the speeds cannot be compared")
