"""Start a ray cluster of several single-processor nodes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nodes(n: int) -> Iterator[str]:
    """Start a cluster with a head that does no work and ``n`` nodes, and yield its address.

    Raises:
        ImportError: when ray is not installed.
    """
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(n):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield str(cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()
