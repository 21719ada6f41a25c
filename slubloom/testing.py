"""For tests of kernel code: machines built in code, and the names a test is written with.

    from slubloom.testing import kmem_cache_create, kthread_run, topology

See `slubloom.pytest_plugin` for the fixtures and marks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .kernel import Machine
from .kernel.kthread import kthread_run
from .kernel.locks import Completion, Mutex, RwSemaphore, Spinlock
from .kernel.pages import GFP_ATOMIC, GFP_KERNEL, NUMA_NO_NODE
from .kernel.rcu import RcuHead
from .kernel.slab.allocate import kmem_cache_alloc, kmem_cache_alloc_node
from .kernel.slab.create import kmem_cache_create
from .kernel.slab.destroy import kmem_cache_destroy
from .kernel.slab.free import kmem_cache_free
from .kernel.slab.shrink import kmem_cache_shrink

__all__ = [
    "GFP_ATOMIC",
    "GFP_KERNEL",
    "NUMA_NO_NODE",
    "Completion",
    "Machine",
    "Mutex",
    "RcuHead",
    "RwSemaphore",
    "Spinlock",
    "kmem_cache_alloc",
    "kmem_cache_alloc_node",
    "kmem_cache_create",
    "kmem_cache_destroy",
    "kmem_cache_free",
    "kmem_cache_shrink",
    "kthread_run",
    "topology",
]

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .topology import Scenario


def topology(
    *,
    cpus: int = 2,
    nodes: int = 1,
    offline_nodes: Sequence[int] = (),
    memory: str = "64M",
    release: str = "v6.1",
    apply: Sequence[str] = (),
    revert: Sequence[str] = (),
    preempt: str = "full",
) -> Scenario:
    """A machine built in code: `cpus` processors dealt to the nodes that are online, `memory` on each of `nodes` nodes.

    Raises:
        TopologyError: no such machine is possible; the message says what was expected.
    """
    from .topology import from_document

    online = [node for node in range(nodes) if node not in offline_nodes] or [0]
    owned: dict[int, list[int]] = {node: [] for node in range(nodes)}
    for cpu in range(cpus):
        owned[online[cpu * len(online) // cpus]].append(cpu)
    document: dict[str, Any] = {
        "machine": {
            "offline_nodes": list(offline_nodes),
            "node": [{"id": node, "cpus": owned[node], "memory": memory} for node in range(nodes)],
        },
        "kernel": {"release": release, "apply": list(apply), "revert": list(revert), "preempt": preempt},
    }
    return from_document(document, "topology()")
