"""Answer the requests of a sweep by workers on a ray cluster, each of which holds the model.

The answer to a request does not depend on the other requests of its batch, so that it does not
matter which worker answers which request. The process that asks stores the answers; workers share
nothing and write nothing.
"""

from __future__ import annotations

import math
import re
import socket
from collections import deque
from collections.abc import Sequence
from functools import partial
from random import Random
from types import TracebackType
from typing import Any

from interp_steer.errors import GenerationError
from interp_steer.generation.decoding import EarlyStop, ask_by_place
from interp_steer.generation.engine import DecodingOptions, OnFinished, answer_requests
from interp_steer.generation.request import Answer, Request
from interp_steer.models import bundled
from interp_steer.models.hooked_lm import HookedLM

FIRST_SHARE = 0.75
"""The share of the requests that workers receive at first, in equal parts. The rest goes to workers
that have finished, so that nobody waits long for the slowest. Large parts decode faster."""

REACHED_WITHIN = 10.0
"""The seconds within which an address must answer."""

BATCHES = 4
"""The most batches that a worker receives at once; this work is lost when the worker dies."""


class Cluster:
    """A model on every worker of a ray cluster.

    The requests of a worker that dies, with or without its node, are answered by the other workers;
    every request has exactly one answer.

    Args:
        model: the model; workers load it by the name and revision that it was loaded by, which
            must mean the same weights on every node.
        address: ``"local"`` for workers on this machine, or the address of a cluster, such as
            ``"auto"`` or ``"ray://head:10001"``.
        cpus: processors of each worker; its PyTorch uses as many threads.
        gpus: graphics processors of each worker.
        workers: the number of workers; by default as many as the cluster has room for.

    Raises:
        GenerationError: when ray is not installed, when the cluster does not exist or has no room,
            or when a worker loads another model.

    Example::

        with ist.Cluster(model, "local", cpus=1) as cluster:
            options = ist.GenerationOptions(cluster=cluster)
            records = ist.sweep(model, grid, pairs, options=options)
    """

    def __init__(
        self,
        model: HookedLM,
        address: str = "local",
        *,
        cpus: int = 1,
        gpus: float = 0,
        workers: int | None = None,
    ) -> None:
        source_name = _find_source(model)
        self._ray = ray = _import_ray()
        self._ours = not ray.is_initialized()
        if self._ours:
            _check_reachable(address)
            try:
                ray.init(address, log_to_driver=False, logging_level="error")
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise _unreachable(address, error) from error
        room = ray.cluster_resources()
        most = int(room.get("CPU", 0) // cpus)
        if gpus:
            most = min(most, int(room.get("GPU", 0) // gpus))
        if most < (workers or 1):
            self.close()
            raise GenerationError(
                f"{workers or 1} workers of {cpus} CPUs and {gpus} GPUs do not fit on a cluster "
                f"with {room.get('CPU', 0):g} CPUs and {room.get('GPU', 0):g} GPUs; ask for less"
            )
        source = {
            "name_or_path": source_name,
            "revision": model.revision,
            "dtype": model.dtype,
            "prompt_format": model.prompt_format,
            "check": False,
        }
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus)(_Worker)
        self._workers = [remote.remote(source, cpus, gpus > 0) for _ in range(workers or most)]
        self._check(model)

    def answer_requests(
        self,
        requests: Sequence[Request],
        options: DecodingOptions,
        early_stop: EarlyStop | None,
        on_finished: OnFinished,
    ) -> None:
        """Answer requests, as :func:`interp_steer.generation.engine.answer_requests` does.

        Raises:
            GenerationError: when all workers have died; ``on_finished`` has received the answers
                so far.
        """
        waiting = deque(self._chunks(len(requests), options.batch_size))
        idle, running = list(self._workers), {}
        while waiting or running:
            while waiting and idle:
                worker, rows = idle.pop(), waiting.popleft()
                ask = None if early_stop is None else partial(ask_by_place, early_stop, rows)
                task = worker.answer.remote([requests[row] for row in rows], options, ask)
                running[task] = (worker, rows)
            if not running:
                raise GenerationError(
                    "every worker of the cluster has died; restart it and run again: the answers "
                    "in the ledger are not computed again"
                )
            (task, *_), _ = self._ray.wait(list(running))
            worker, rows = running.pop(task)
            try:
                answers: list[Answer] = self._ray.get(task)
            except self._ray.exceptions.RayActorError:
                self._workers.remove(worker)
                waiting.appendleft(rows)
                continue
            idle.append(worker)
            for row, answer in zip(rows, answers, strict=True):
                on_finished(row, answer)

    def _chunks(self, n_rows: int, batch_size: int) -> list[list[int]]:
        """Split the rows at random into chunks, the largest first."""
        shuffled = Random(0).sample(range(n_rows), n_rows)
        first = n_rows if len(self._workers) == 1 else math.ceil(FIRST_SHARE * n_rows)
        most = BATCHES * batch_size
        return [*self._deal(shuffled[:first], most), *self._deal(shuffled[first:], most)]

    def _deal(self, rows: list[int], most: int) -> list[list[int]]:
        """Split rows into equal chunks of at most ``most`` rows, equally many for each worker."""
        rounds = math.ceil(len(rows) / (len(self._workers) * most))
        n_chunks = min(len(self._workers) * rounds, len(rows))
        return [rows[chunk::n_chunks] for chunk in range(n_chunks)]

    def _check(self, model: HookedLM) -> None:
        fingerprint = model.fingerprint
        for loaded in self._ray.get([worker.fingerprint.remote() for worker in self._workers]):
            if loaded != fingerprint:
                self.close()
                raise GenerationError(
                    f"{model.name!r} is another model where the workers are (fingerprint {loaded}, "
                    f"here {fingerprint}); give them the same checkpoint under the same path"
                )

    def close(self) -> None:
        """Stop the workers, and stop ray when this object started it."""
        for worker in getattr(self, "_workers", []):
            self._ray.kill(worker)
        if self._ours:
            self._ray.shutdown()

    def __len__(self) -> int:
        """Count the workers."""
        return len(self._workers)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Worker:
    """A process that holds the model."""

    def __init__(self, source: dict[str, Any], cpus: int, on_gpu: bool) -> None:
        import torch

        from interp_steer.models.loading import load

        torch.set_num_threads(cpus)
        self._model = load(**source, device="cuda" if on_gpu else "cpu")

    def fingerprint(self) -> str:
        return self._model.fingerprint

    def answer(
        self, requests: Sequence[Request], options: DecodingOptions, early_stop: EarlyStop | None
    ) -> list[Answer]:
        answers: dict[int, Answer] = {}
        answer_requests(self._model, requests, options, early_stop, answers.__setitem__)
        return [answers[row] for row in range(len(requests))]


def _check_reachable(address: str) -> None:
    """Check that a server answers at an address, as ray would try for minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^/\]]+?)\]?:([0-9]{1,5})", address)
    if match is None:
        return
    try:
        socket.create_connection((match[1], int(match[2])), timeout=REACHED_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> GenerationError:
    return GenerationError(
        f"a ray cluster cannot be reached at {address!r} ({error}); start one with "
        "`ray start --head`, or use 'local'"
    )


def _find_source(model: HookedLM) -> str:
    """Return the name or folder that a worker can load the model from."""
    source = model.name if model.name in bundled.BUNDLED_NAMES else model.plain.name_or_path
    if not source:
        raise GenerationError(
            f"{model.describe()} has no name or folder from which a worker can load it; save "
            "it with save_pretrained, and ist.load that folder"
        )
    return source


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise GenerationError(
            "ray is not installed; pip install 'interp_steer[ray]', or sweep in this process"
        ) from None
    return ray
