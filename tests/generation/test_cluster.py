"""Rows answered on a ray cluster are the rows answered here, also when a node goes."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
import torch

import interp_steer as ist
from interp_steer.errors import GenerationError
from interp_steer.generation.completions import generate
from interp_steer.generation.ledger import Ledger
from interp_steer.generation.request import Answer
from interp_steer.generation.sampling import Sampling
from interp_steer.models.loading import load

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

QUERIES = [
    f"Tell me about the {thing}, number {n}." for thing in ("sea", "ship") for n in range(12)
]


@pytest.fixture(scope="module")
def model(checkpoint):
    return load(checkpoint("llama3"), device="cpu")


@pytest.fixture
def nodes():
    """A head that does no work, and two nodes of one processor."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    workers = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster, workers
    ray.shutdown()
    cluster.shutdown()


def steering(model) -> list[ist.Intervention]:
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    at = ist.Site("resid_post", 1)
    d = ist.Direction(vector, 6.0, "d", at, at, model.name, model.n_layers, model.d_model)
    return [d.add(0.1 * row) for row in range(len(QUERIES))]


def test_workers_answer_as_this_process_does(model, nodes) -> None:
    cluster, _ = nodes
    each = steering(model)
    with ist.Cluster(model, cluster.address) as workers:
        for options in (
            {},
            {"sampling": Sampling(seed=3)},
            {"early_stop": lambda row, text: row % 3 == 0 and len(text) > 5},
        ):
            sampling, stop = options.get("sampling"), options.get("early_stop")
            given = {"max_new_tokens": 12, "sampling": sampling}
            alone = ist.GenerationOptions(early_stop=stop)
            here = generate(model, QUERIES, each, options=alone, **given)
            spread = ist.GenerationOptions(early_stop=stop, cluster=workers)
            there = generate(model, QUERIES, each, batch_size=4, options=spread, **given)
            assert there == here


def test_a_node_that_goes_has_its_rows_done_by_the_other(model, nodes, tmp_path: Path) -> None:
    cluster, (first, _) = nodes
    each = steering(model)
    here = generate(model, QUERIES, each, max_new_tokens=64)
    told: Counter[str] = Counter()

    class Watched(Ledger):
        def keep(self, key: str, answer: Answer) -> None:
            told[key] += 1
            if len(told) == 1:
                threading.Thread(target=cluster.remove_node, args=(first,)).start()
            super().keep(key, answer)

    ledger = Watched(tmp_path / "answers.jsonl")
    with ist.Cluster(model, cluster.address) as workers:
        given = {"max_new_tokens": 64, "batch_size": 2, "ledger": ledger}
        options = ist.GenerationOptions(cluster=workers)
        assert generate(model, QUERIES, each, options=options, **given) == here
        assert len(told) == len(QUERIES) and set(told.values()) == {1}
        assert len(workers) == 1


def test_what_cannot_work_is_refused_with_the_mend(model, checkpoint, nodes) -> None:
    cluster, _ = nodes
    with pytest.raises(GenerationError, match=r"9 workers of 1 CPUs .* on a cluster with 2 CPUs"):
        ist.Cluster(model, cluster.address, workers=9)
    altered = load(checkpoint("llama3"), device="cpu")
    altered.plain.get_input_embeddings().weight.data[3] += 1
    with pytest.raises(GenerationError, match="is another model where the workers are"):
        ist.Cluster(altered, cluster.address)
    altered.plain.config._name_or_path = altered.plain.name_or_path = ""
    with pytest.raises(GenerationError, match=r"ist\.load that folder"):
        ist.Cluster(altered, cluster.address)
