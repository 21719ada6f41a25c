"""A campaign in several processes.

Each worker makes the pilot run for itself (it is the same everywhere) and then runs the schedules it is sent, a result
a message.  A worker that dies costs the schedule it was running: that is noted as lost, what it had been sent beyond
goes to others, and a new worker takes its place.  Results are handed on in order of their numbers.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from ..worker_process import be_a_worker, worker_context
from .campaign import Campaign
from .subject import Executed, Pilot, Schedule, execute, many_schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

    from .campaign import CampaignOptions, Tally
    from .subject import Subject

AHEAD = 4
"""Schedules sent to a worker before it has answered: it never waits for the next."""

DEATHS_MAX = 16
"""Workers that may die without one result between them before the campaign gives up."""


class WorkersDiedError(Exception):
    """Workers die as soon as they are started."""


class _Worker:
    """One process, and what it has been sent and not answered."""

    def __init__(
        self, context: BaseContext, others: Sequence[_Worker], subject: Subject, seed: int, steps_max: int
    ) -> None:
        self.connection, theirs = context.Pipe()
        # A forked worker has a copy of every connection of ours.  It closes them: while one is open anywhere, nobody
        # at its other end learns that we have died.
        forked = context.get_start_method() == "fork"
        ours = [worker.connection for worker in (self, *others)] if forked else []
        self.process: BaseProcess = context.Process(  # type: ignore[attr-defined]  # every context has it
            target=_work, args=(theirs, ours, subject, seed, steps_max), daemon=True
        )
        self.process.start()
        theirs.close()
        self.sent: deque[Schedule] = deque()

    def send(self, schedule: Schedule) -> None:
        """Have it run `schedule`; if it has died, that shows when it is waited for."""
        self.sent.append(schedule)
        with suppress(OSError):
            self.connection.send(schedule)

    def end(self) -> None:
        """Stop the process, whatever it does."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _work(connection: Connection, inherited: Sequence[Connection], subject: Subject, seed: int, steps_max: int) -> None:
    """The life of a worker: ends when the campaign closes its end, or with it."""
    for copy in inherited:
        copy.close()
    be_a_worker()
    with many_schedules():
        pilot = Pilot(subject, seed)
        try:
            while True:
                connection.send(execute(subject, connection.recv(), pilot, steps_max=steps_max))
        except (EOFError, OSError):
            return


class WorkersCampaign(Campaign):
    """A campaign whose schedules are run by ``options.jobs`` processes."""

    _deaths = 0

    def __init__(
        self, subject: Subject, options: CampaignOptions, *, on_progress: Callable[[Tally], object] | None = None
    ) -> None:
        super().__init__(subject, options, on_progress=on_progress)
        self._workers: list[_Worker] = []

    def _start_workers(self) -> None:
        # Not before the pilot run: what is wrong with the subject as such comes out there, once.
        self._context = worker_context()
        for _ in range(self.options.jobs):
            self._workers.append(self._hire())

    def _hire(self) -> _Worker:
        others = [worker for worker in self._workers if not worker.connection.closed]
        return _Worker(self._context, others, self.subject, self._seed, self.options.steps_max)

    def run(self) -> Tally:
        """Search; what was found."""
        try:
            return super().run()
        finally:
            for worker in self._workers:
                worker.end()

    def _execute_round(self, schedules: Sequence[Schedule], pilot: Pilot) -> Iterator[Executed]:
        if not self._workers:
            self._start_workers()
        waiting = deque(schedules)
        expected = deque(schedule.number for schedule in schedules)
        done: dict[int, Executed | None] = {}
        while expected:
            self._feed(waiting)
            by_connection = {worker.connection: worker for worker in self._workers}
            for connection in wait(list(by_connection)):
                worker = by_connection[connection]  # type: ignore[index]  # only connections were waited for
                try:
                    executed: Executed = worker.connection.recv()
                except (EOFError, OSError):
                    lost = self._bury(worker, waiting)
                    if lost is not None:
                        done[lost.number] = None
                else:
                    worker.sent.popleft()
                    self._deaths = 0
                    done[executed.schedule.number] = executed
            while expected and expected[0] in done:
                result = done.pop(expected.popleft())
                if result is not None:
                    yield result

    def _feed(self, waiting: deque[Schedule]) -> None:
        for worker in sorted(self._workers, key=lambda worker: len(worker.sent)):
            while waiting and len(worker.sent) < AHEAD:
                worker.send(waiting.popleft())

    def _bury(self, worker: _Worker, waiting: deque[Schedule]) -> Schedule | None:
        """A worker has died: note what it was running, give the rest to others, hire another one."""
        worker.end()
        lost = worker.sent.popleft() if worker.sent else None
        waiting.extendleft(reversed(worker.sent))
        if lost is not None:
            self.tally.lost.append(lost)
        self._deaths += 1
        if self._deaths > DEATHS_MAX:
            raise WorkersDiedError(
                f"{self._deaths} workers died one after the other, the last with exit code {worker.process.exitcode}"
            )
        self._workers[self._workers.index(worker)] = self._hire()
        return lost
