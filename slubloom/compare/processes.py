"""Runs in several processes: one process a run, so none sees what another has left behind.

A run depends on its job only, so the results are the same whatever the number of processes; they come in the order in
which the runs end.  A process that dies is a failed run.
"""

from __future__ import annotations

from collections import deque
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from ..worker_process import be_a_worker, worker_context
from .runs import Run, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from .runs import Job

LOOK_S = 0.2
"""How often somebody is asked whether to go on while nothing comes."""


def run_jobs(jobs: Sequence[Job], processes: int, go_on: Callable[[], bool]) -> Iterator[Run]:
    """Make the runs of `jobs`, at most `processes` at a time, as long as `go_on` says so.

    Whatever ends this, no process is left.
    """
    context = worker_context()
    waiting = deque(jobs)
    running: dict[Connection, tuple[Job, BaseProcess]] = {}
    try:
        while (waiting or running) and go_on():
            while waiting and len(running) < processes:
                job = waiting.popleft()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(  # type: ignore[attr-defined]  # every context has it
                    target=_work, args=(theirs, job), daemon=True
                )
                process.start()
                theirs.close()
                running[ours] = job, process
            ready = wait(list(running), LOOK_S)
            for connection in [connection for connection in running if connection in ready]:
                yield _result(connection, *running.pop(connection))
    finally:
        for connection, (_, process) in running.items():
            process.terminate()
            process.join()
            connection.close()


def _result(connection: Connection, job: Job, process: BaseProcess) -> Run:
    try:
        run: Run = connection.recv()
    except (EOFError, OSError):
        process.join()
        run = Run(job.number, job.seed, failure=f"its process died with exit code {process.exitcode}", died=True)
    process.join()
    connection.close()
    return run


def _work(connection: Connection, job: Job) -> None:
    be_a_worker()
    connection.send(measure(job))
    connection.close()
