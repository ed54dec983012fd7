"""Workers on a ray cluster, each with the model, that answer the rows of a sweep.

What is done where changes no answer: rows do not depend on their neighbours. The process that asks
keeps the answers, so that workers share nothing and write nothing.
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
from interp_steer.generation.decoding import EarlyStop, of_rows
from interp_steer.generation.engine import Decoding, Finished, Request, answer_rows
from interp_steer.generation.ledger import CachedAnswer
from interp_steer.models import bundled
from interp_steer.models.hooked_lm import HookedLM

AT_FIRST = 0.75
"""The share of the rows that workers are given at first, in equal parts; the rest goes to those who
are done, so that none waits long for the last. Many rows at once decode faster than few."""

REACHED_WITHIN = 10.0
"""Seconds within which an address must answer."""

BATCHES = 4
"""The most batches of rows that a worker is given at once: what is lost when it dies."""


class Cluster:
    """A model on every worker of a ray cluster.

    A worker that dies, with its node or alone, has its rows done by the others; no row is answered
    twice in what is returned.

    Args:
        model: the model; workers load it by the name and revision that it was loaded by, which
            must mean the same weights where they are.
        address: ``"local"`` for workers on this machine, or the address of a cluster, such as
            ``"auto"`` or ``"ray://head:10001"``.
        cpus: processors of each worker; its PyTorch uses as many threads.
        gpus: graphics processors of each worker.
        workers: how many; by default as many as the cluster has room for.

    Raises:
        GenerationError: when ray is not installed, there is no such cluster or no room on it, or a
            worker's model is not this one.

    Example:
        >>> with ist.Cluster(model, "local", cpus=1) as cluster:           # doctest: +SKIP
        ...     records = ist.sweep(model, grid, pairs, cluster=cluster)
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
        place = _place(model)
        self._ray = ray = _ray()
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
            "name_or_path": place,
            "revision": model.revision,
            "dtype": model.dtype,
            "prompt_format": model.prompt_format,
            "check": False,
        }
        remote = ray.remote(num_cpus=cpus, num_gpus=gpus)(_Worker)
        self._workers = [remote.remote(source, cpus, gpus > 0) for _ in range(workers or most)]
        self._check(model)

    def answer_rows(
        self,
        requests: Sequence[Request],
        how: Decoding,
        settled: EarlyStop | None,
        on_finished: Finished,
    ) -> None:
        """Answer rows, in whatever order they end: see :func:`interp_steer.generation.engine.answer_rows`.

        Raises:
            GenerationError: when no worker is left; the answers that were given have been told.
        """
        waiting = deque(self._chunks(len(requests), how.batch_size))
        idle, running = list(self._workers), {}
        while waiting or running:
            while waiting and idle:
                worker, rows = idle.pop(), waiting.popleft()
                asked = None if settled is None else partial(of_rows, settled, rows)
                task = worker.answer.remote([requests[row] for row in rows], how, asked)
                running[task] = (worker, rows)
            if not running:
                raise GenerationError(
                    "every worker of the cluster has died; start it anew and run again: what the "
                    "ledger has is not computed again"
                )
            (task, *_), _ = self._ray.wait(list(running))
            worker, rows = running.pop(task)
            try:
                answers: list[CachedAnswer] = self._ray.get(task)
            except self._ray.exceptions.RayActorError:
                self._workers.remove(worker)
                waiting.appendleft(rows)
                continue
            idle.append(worker)
            for row, answer in zip(rows, answers, strict=True):
                on_finished(row, answer)

    def _chunks(self, n_rows: int, batch_size: int) -> list[list[int]]:
        """Rows in chunks of like make-up, the largest first."""
        mixed = Random(0).sample(range(n_rows), n_rows)
        first = n_rows if len(self._workers) == 1 else math.ceil(AT_FIRST * n_rows)
        most = BATCHES * batch_size
        return [*self._dealt(mixed[:first], most), *self._dealt(mixed[first:], most)]

    def _dealt(self, rows: list[int], most: int) -> list[list[int]]:
        """Rows in equal chunks of at most so many, as many of them for each worker."""
        rounds = math.ceil(len(rows) / (len(self._workers) * most))
        n_chunks = min(len(self._workers) * rounds, len(rows))
        return [rows[chunk::n_chunks] for chunk in range(n_chunks)]

    def _check(self, model: HookedLM) -> None:
        fingerprint = model.fingerprint
        for theirs in self._ray.get([worker.fingerprint.remote() for worker in self._workers]):
            if theirs != fingerprint:
                self.close()
                raise GenerationError(
                    f"{model.name!r} is another model where the workers are (fingerprint {theirs}, "
                    f"here {fingerprint}); give them the same checkpoint under the same path"
                )

    def close(self) -> None:
        """Let the workers go, and ray when it was started here."""
        for worker in getattr(self, "_workers", []):
            self._ray.kill(worker)
        if self._ours:
            self._ray.shutdown()

    def __len__(self) -> int:
        """How many workers there are."""
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
    """A process with the model."""

    def __init__(self, source: dict[str, Any], cpus: int, on_gpu: bool) -> None:
        import torch

        from interp_steer.models.loading import load

        torch.set_num_threads(cpus)
        self._model = load(**source, device="cuda" if on_gpu else "cpu")

    def fingerprint(self) -> str:
        return self._model.fingerprint

    def answer(
        self, requests: Sequence[Request], how: Decoding, settled: EarlyStop | None
    ) -> list[CachedAnswer]:
        answers: dict[int, CachedAnswer] = {}
        answer_rows(self._model, requests, how, settled, answers.__setitem__)
        return [answers[row] for row in range(len(requests))]


def _check_reachable(address: str) -> None:
    """Refuse an address that nothing answers at, which ray would try for minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?([^/\]]+?)\]?:([0-9]{1,5})", address)
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=REACHED_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> GenerationError:
    return GenerationError(
        f"there is no ray cluster at {address!r} ({error}); start one with `ray start --head`, or "
        "use 'local'"
    )


def _place(model: HookedLM) -> str:
    """Where a model can be loaded from."""
    place = model.name if model.name in bundled.BUNDLED_NAMES else model.plain.name_or_path
    if not place:
        raise GenerationError(
            f"{model.describe()} was not loaded from anywhere, so that no worker can load it; save "
            "it with save_pretrained, and ist.load that folder"
        )
    return place


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise GenerationError(
            "ray is not installed; pip install 'interp_steer[ray]', or sweep in this process"
        ) from None
    return ray
