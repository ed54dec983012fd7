"""How fast: sweeps, decoding and capture against the papers' loop, bare Hugging Face, and peers.

Contenders take turns in one process tree; each number is the median over the laps of a ratio of
speeds, with the least and the greatest. Where contenders do the same work, their answers are
compared: the same greedy tokens, the same vectors. Three models: a bundled one, and random Llamas
of 6 layers (d 256) and 12 layers (d 512) with a vocabulary of 32,000. A lap of the papers' loop
does a few answers drawn from the sweep's; it is counted by the answer.

Peers run in environments of their own, which ``make bench-peers`` makes; one that is not there is
left out.
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
from analyses.speed.timing import Contender, alternate, answer, clocked, ratio
from analyses.speed.work import Work, drawn
from interp_steer.errors import RunError
from interp_steer.models.batching import batches_by_length
from interp_steer.models.forward import Through
from interp_steer.statistics.intervals import Interval
from interp_steer.sweeps.grid import breaks_instruction

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Config:
    """The size of the work."""

    model: str = "burattino-instruct"
    """The bundled model, on which verdicts mean something."""
    sizes: tuple[str, ...] = ("small", "mid")
    """The random models."""
    laps: int = 5
    """How often each contender does its work, after once to warm up."""
    n_prompts: int = 20
    """Prompts of the sweep."""
    n_spread: int = 60
    """Prompts of the sweep that is spread over nodes, which only long sweeps are."""
    max_new_tokens: int = 48
    """Where answers are cut."""
    loop_answers: int = 2
    """Answers in a lap of the papers' loop."""
    n_pairs: int = 256
    """Pairs that are captured."""
    batch_size: int = 32
    """Rows in a batch of capture, and of the comparison with ``generate``."""
    threads: int | None = None
    """Of PyTorch; as many as there are cores when not given."""
    environments: Path = Path(".peers")
    """Where the environments of the peers lie."""
    checkpoints: Path = Path("results/.benchmark")
    """Where the random models are written."""


def main(config: Config, run: ist.Run) -> None:
    """Time everything; leave the rates, the ratios and a table."""
    if config.threads:
        torch.set_num_threads(config.threads)
    rates: list[dict[str, object]] = []
    ratios: dict[str, Interval] = {}
    for name in (config.model, *config.sizes):
        work = Work.on(name, config.checkpoints, fit=config.n_pairs, select=config.n_prompts)
        run.used(work.model)
        parts = [sweeping, decoding, capturing]
        if find_spec("ray") and name in (config.model, *config.sizes[:1]):
            parts.append(spreading)  # a lap of it takes minutes on a larger model
        for part in parts:
            found, laps = part(work, config)
            ratios |= {f"{key}.{name}": value for key, value in found.items()}
            for key, value in found.items():  # said as they come: the whole takes most of an hour
                print(f"{key}.{name}: {value}", flush=True)
            rates += [
                {"model": name, "part": part.__name__, "contender": who, "lap": lap, "rate": rate}
                for who, each in laps.items()
                for lap, rate in enumerate(each)
            ]
    if config.sizes:
        ratios["memory.10000_over_1000"] = memory_growth(config.sizes[0], config)
    run.write_records(pl.DataFrame(rates))
    run.leave(summary={**ratios, "threads": torch.get_num_threads()})


Found = tuple[dict[str, Interval], dict[str, list[float]]]
"""Ratios by name, and the rates of each contender."""


def sweeping(work: Work, config: Config) -> Found:
    """Answers a second of a sweep over all layers, and of a race, against the papers' loop."""
    model, rows = work.model, work.rows()
    size: dict[str, Any] = {"max_new_tokens": config.max_new_tokens, "batch_size": len(rows)}
    steering = [cell.steering for cell, _, _ in rows]
    swept = ist.generate(model, [prompt for _, prompt, _ in rows], steering, **size)

    def sweep(lap: int) -> float:
        return ist.sweep(model, work.grid, work.pairs.select, score=_unscored, **size).height

    def race(lap: int) -> float:
        ist.race(model, work.grid, work.pairs.select, reference, settled=breaks_instruction, **size)
        return len(rows)

    def loop(lap: int) -> float:
        chosen = drawn(rows, config.loop_answers, lap)
        for row in chosen:
            cell, _, prompt = rows[row]
            said = answer(model, prompt, cell.steering, config.max_new_tokens)
            _check(tuple(said) == swept[row].tokens, f"answer {row} of the loop on {work.name}")
        return len(chosen)

    contenders = [_contender("sweep", sweep), _contender("loop", loop)]
    if work.name == config.model:  # verdicts on random words mean nothing
        reference = ist.load("burattino-base")
        contenders.append(_contender("race", race))
    laps = [
        [
            {"prompt": rows[row][2], "layer": rows[row][0].layer, "answer": swept[row].tokens}
            for row in drawn(rows, config.loop_answers, lap)
        ]
        for lap in range(-1, config.laps)
    ]
    directions = {layer: work.vector.at(layer) for layer in work.vector.layers}
    given = {
        "laps": laps,
        "max_new_tokens": config.max_new_tokens,
        "units": {layer: one.unit.tolist() for layer, one in directions.items()},
        "targets": {layer: one.target for layer, one in directions.items()},
    }
    with peers(("hooked_transformer",), work, config, **given) as others:
        rates = alternate([*contenders, *(other.contender for other in others)], config.laps)
    found = {"sweep.over_reference_loop": ratio(rates["sweep"], rates["loop"])}
    if "race" in rates:
        found["sweep.racing_over_reference_loop"] = ratio(rates["race"], rates["loop"])
    if "hooked_transformer" in rates:
        found["sweep.over_hooked_transformer"] = ratio(rates["sweep"], rates["hooked_transformer"])
    return found, rates


def decoding(work: Work, config: Config) -> Found:
    """Tokens a second of steered decoding against bare ``generate``, and through the hook points.

    The direction is added with a strength too small to change a token, so that both decode the
    same ones.
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
        said = tokens[:, batch.tokens.shape[1] :].tolist()
        for row, completion in enumerate(steered):
            _check(
                tuple(said[row][: len(completion.tokens)]) == completion.tokens,
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

    def counted(through: Through) -> float:
        return sum(len(completion.tokens) for completion in ours(through))

    steered = ours("plain")
    rates = alternate(
        [
            _contender("generate", bare),
            _contender("steered", lambda lap: counted("plain")),
            _contender("steered_through_hook_points", lambda lap: counted("hook_points")),
        ],
        config.laps,
    )
    return {
        "decode.over_hf_generate": ratio(rates["steered"], rates["generate"]),
        "decode.hook_points_over_hf_generate": ratio(
            rates["steered_through_hook_points"], rates["generate"]
        ),
    }, rates


def capturing(work: Work, config: Config) -> Found:
    """Prompts a second: the residual stream after every layer at the last position.

    Against a bare pass without a head over the same batches, and against peers' own capture of the
    same pairs.
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

    with peers(
        ("steering_vectors", "repeng"), work, config, batch_size=config.batch_size
    ) as others:
        contenders = [_contender("forward", bare), _contender("capture", ours)]
        rates = alternate([*contenders, *(other.contender for other in others)], config.laps)
        for other in others:
            theirs = other.do("vector")["layers"]
            # Of the last layer repeng has what comes after the final norm.
            for layer in work.vector.layers[: -1 if other.name == "repeng" else None]:
                mine = work.vector.directions[layer]
                apart = float((mine - torch.tensor(theirs[str(layer)])).norm() / mine.norm())
                _check(apart < 1e-5, f"layer {layer} of {other.name} on {work.name} ({apart:.1e})")
    found = {"capture.over_forward": ratio(rates["capture"], rates["forward"])}
    for other in set(rates) - {"capture", "forward"}:
        found[f"capture.over_{other}"] = ratio(rates["capture"], rates[other])
    return found, rates


def spreading(work: Work, config: Config) -> Found:
    """Answers a second of a sweep over all layers on two nodes of one processor, against one."""
    size: dict[str, Any] = {"max_new_tokens": config.max_new_tokens, "score": _unscored}
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

        contenders = [_contender(name, partial(sweep, one)) for name, one in clusters.items()]
        rates = alternate(contenders, config.laps)
    return {"ray.two_nodes_over_one": ratio(rates["two_nodes"], rates["one_node"])}, rates


def memory_growth(size: str, config: Config) -> Interval:
    """Peak resident memory of capturing ten times as many prompts, each in a process of its own."""
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
def peers(
    names: Sequence[str], work: Work, config: Config, **given: object
) -> Iterator[list[Peer]]:
    """Those peers whose environments are there, ready to take turns."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = []
        for name in names:
            python = config.environments / name / "bin" / "python"
            if python.exists():
                file = work.write(folder / f"{name}.json", **given)
                found.append(Peer(name, python, PEERS / f"{name}_peer.py", file))
                stack.callback(found[-1].close)
        yield found


def _contender(name: str, work: Callable[[int], float]) -> Contender:
    return Contender(name, lambda lap: clocked(partial(work, lap)))


def _unscored(pair: Any, completion: ist.Completion) -> dict[str, Any]:
    return {}


def _check(same: bool, what: str) -> None:
    if not same:
        raise RunError(f"{what} is not what interp_steer has; the speeds cannot be compared")
