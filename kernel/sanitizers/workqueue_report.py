"""What the kernel says about workqueues: warnings, and the listing of what is busy.

Layout: check_flush_dependency(), show_pwq(), show_one_workqueue(), show_one_worker_pool() of kernel/workqueue.c (6.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import HARDWARE, call_trace, identity, join

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ...actors import WorkerPool
    from ...actors.work_queue import PoolQueue, WorkQueue
    from ...actors.worker_pool import Barrier, WorkItem
    from ..machine import Machine
    from ..workqueue import Workqueue

NS_PER_S = 1_000_000_000


def flush_dependency(
    machine: Machine, queue: WorkQueue, item: WorkItem, target: WorkQueue, work: WorkItem | None
) -> None:
    """`item` of `queue`, which memory may depend on, waits for something that may need memory."""
    waited_for = work.name if work is not None else "0x0"
    title = f"workqueue: WQ_MEM_RECLAIM {queue.name}:{item.name} is flushing !WQ_MEM_RECLAIM {target.name}:{waited_for}"
    _warn(machine, title, "check_flush_dependency")


def queued_while_draining(machine: Machine, queue: WorkQueue, work: WorkItem) -> None:
    """Something other than an item of `queue` has queued `work` on it while it is drained: it will never run."""
    _warn(machine, f"workqueue: {work.name} queued on {queue.name}, which is being drained", "__queue_work")


def still_busy(machine: Machine, queue: Workqueue, shares: Sequence[PoolQueue]) -> None:
    """`queue` was to be destroyed, but something has been queued on it."""
    listed = [f"destroy_workqueue: {queue.name} has the following busy pwq"]
    for share in shares:
        listed += list_share(share)
    _warn(machine, f"destroy_workqueue: {queue.name} is busy", "destroy_workqueue", listed)


def _warn(machine: Machine, title: str, function: str, after: Sequence[str] = ()) -> None:
    """Lay out what ``WARN()`` prints; the kernel goes on."""
    running = machine.running
    report = join(
        [
            "------------[ cut here ]------------",
            title,
            f"WARNING: CPU: {max(running.cpu_id, 0)} PID: {running.pid} at kernel/workqueue.c {function}",
            identity(machine),
            HARDWARE,
            f"RIP: 0010:{function}",
            *call_trace(machine.stack()),
            "---[ end trace 0000000000000000 ]---",
            *after,
        ]
    )
    machine.violate("kernel-bug", title, report)
    machine.taints["W"] = None


# --- the listing


def show_all_workqueues(machine: Machine) -> list[str]:
    """``Showing busy workqueues and worker pools:`` and what is busy."""
    lines = ["Showing busy workqueues and worker pools:"]
    for queue in machine.workqueues.queues.values():
        busy = sorted((share for share in queue.pool_queues.values() if share.busy), key=_pool_id)
        if busy:
            lines.append(f"workqueue {queue.name}: flags=0x{queue.shown_flags:x}")
            for share in busy:
                lines += list_share(share)
    for pool in machine.workqueues.pools.all():
        if len(pool.workers) != len(pool.idle):
            hung = (machine.interleaver.now_ns - pool.watchdog_ns) // NS_PER_S
            idle = "".join(
                f" {'idle: ' if first else ''}{worker.pid}"
                for first, worker in zip([True] + [False] * len(pool.idle), reversed(pool.idle), strict=False)
            )
            lines.append(f"pool {pool.pool_id}:{pool_info(pool)} hung={hung}s workers={len(pool.workers)}{idle}")
    return lines


def pool_info(pool: WorkerPool) -> str:
    """``cpus=… node=… flags=… nice=…``, each behind a blank."""
    if pool.cpu is not None:
        cpus = [pool.cpu.cpu_id]
    else:
        cpus = [cpu.cpu_id for cpu in pool.cpus if pool.node in (cpu.node, -1)]
    node = f" node={pool.node}" if pool.node >= 0 else ""
    return f" cpus={ranges(cpus)}{node} flags=0x{pool.flags:x} nice={pool.nice}"


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as the kernel prints a mask: ``0-2,5``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def list_share(share: PoolQueue) -> list[str]:
    """What one workqueue has on one pool."""
    pool = share.pool
    refcnt = 1 + sum(share.in_flight)
    mayday = " MAYDAY" if share.calls_for_help else ""
    counts = f"active={share.nr_active}/{share.queue.max_active} refcnt={refcnt}{mayday}"
    lines = [f"  pwq {pool.pool_id}:{pool_info(pool)} {counts}"]
    running = [
        f" {worker.pid}{'(RESCUER)' if worker is share.queue.rescuer else ''}:{work.name}"
        f"{_barriers(worker.barriers)}{''.join(f' {other.name}' for other in worker.scheduled)}"
        for work, worker in pool.busy.items()
        if worker.share is share
    ]
    pending = [f" {work.name}{_barriers(work.barriers)}" for work in pool.worklist if work.pool_queue is share]
    inactive = [f" {work.name}{_barriers(work.barriers)}" for work in share.inactive]
    for title, works in (("in-flight", running), ("pending", pending), ("inactive", inactive)):
        if works:
            lines.append(f"    {title}:{','.join(works)}")
    return lines


def _barriers(barriers: Sequence[Barrier]) -> str:
    return "".join(f" BAR({barrier.flusher.pid})" for barrier in barriers)


def _pool_id(share: PoolQueue) -> int:
    return share.pool.pool_id
