"""The memory chain: who is told, and failures on request.

Mirrors memory_notify() of drivers/base/memory.c and lib/memory-notifier-error-inject.c (6.1).  The latter is a module;
it is loaded where the topology gives its priority as a boot parameter, and then has files in debugfs into which an
error number is written, with which it refuses from then on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Op, OpKind
from ...actors.hotplug import MemoryEvent, MemoryNotify, NotifierBlock, NotifierChain
from ..locks import RwSemaphore
from ..stack import show_as

if TYPE_CHECKING:
    from ..machine import Machine

MAX_ERRNO = 4095

show_as(NotifierChain.call, "blocking_notifier_call_chain")


class MemoryChain:
    """``memory_chain``: subscribers, called under the read side of a semaphore."""

    def __init__(self, machine: Machine) -> None:
        self._rwsem = RwSemaphore(machine, "(memory_chain).rwsem")
        self.notifiers = NotifierChain(machine.interleaver, "memory_chain")

    async def memory_notify(self, event: MemoryEvent, data: MemoryNotify) -> int:
        """Tell everybody, or up to who refuses; 0, or the negative errno of the refusal."""
        async with self._rwsem.read():
            return await self.notifiers.call(event, data)


class ErrorInjection:
    """The subscriber that refuses as it is told; ``errors`` has the negative errno for each event, or 0."""

    EVENTS = (MemoryEvent.GOING_ONLINE, MemoryEvent.GOING_OFFLINE)

    def __init__(self, machine: Machine, priority: int) -> None:
        self._machine = machine
        self.errors = dict.fromkeys(self.EVENTS, 0)
        resource = machine.interleaver.resource("memory_notifier_err_inject")
        self.read = Op(OpKind.READ, resource)
        self.write = Op(OpKind.WRITE, resource)
        self.block = NotifierBlock("notifier_err_inject_callback", priority, self.notifier_err_inject_callback)

    async def notifier_err_inject_callback(self, event: MemoryEvent, data: MemoryNotify) -> int:
        """Refuse, or do nothing."""
        await self.read
        error = self.errors.get(event, 0)
        if error:
            self._machine.printk("info", f"Injecting error ({error}) to MEM_{event.name}")
        return error
