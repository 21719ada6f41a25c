"""Bringing memory online and taking it offline.

Mirrors online_pages(), offline_pages(), mem_hotplug_begin() and memory_notify() of mm/memory_hotplug.c, the order of
steps as of 5.10.

Lock order (outermost first): ``device_hotplug_lock`` → ``cpu_hotplug_lock`` (read) → ``mem_hotplug_lock`` (write) →
``(memory_chain).rwsem`` (read) → whatever the callbacks take.  The step that matters to seed 000: ``N_NORMAL_MEMORY``
is changed after the GOING_ONLINE callbacks and outside their locks.  Left out until the hotplug issue:
``pcp_batch_high_lock``, migration of pages in use, single blocks of a node (a node's memory comes and goes as a
whole).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...actors import Op, OpKind
from ...actors.hotplug import MemoryEvent, MemoryNotify, NotifierChain, OfflineMemory, OnlineMemory
from ...actors.numa import OfflineBlocks, OnlineBlocks
from ...actors.signal import Reply, ask
from ..locks import Mutex, PercpuRwsem, RwSemaphore, Together
from ..node_states import NodeMask
from ..stack import show_as

if TYPE_CHECKING:
    from ...actors import Actor, HotplugNotifier
    from ..machine import Machine

EBUSY = 16
EINVAL = 22

show_as(NotifierChain.call, "blocking_notifier_call_chain")


class HotplugSection(Protocol):
    """Seam: what a memory-hotplug operation holds from beginning to end."""

    def held(self, hotplug: MemoryHotplug) -> Together:
        """The locks of one operation."""
        ...


class LockMemoryHotplug:
    """Up to 3.15: a mutex against other memory hotplug, and nothing against anybody else (``lock_memory_hotplug``)."""

    def held(self, hotplug: MemoryHotplug) -> Together:
        """The mutex."""
        mutex = hotplug.mem_hotplug_mutex
        return Together((mutex.lock, mutex.unlock))


class MemHotplugBegin:
    """From 3.16: keeps out everyone who has said ``get_online_mems`` (``mem_hotplug_begin``)."""

    def held(self, hotplug: MemoryHotplug) -> Together:
        """The read side of the CPU-hotplug lock, then the write side of the memory-hotplug lock."""
        cpus, memory = hotplug.machine.cpu_hotplug.lock, hotplug.mem_hotplug_lock
        return Together((cpus.down_read, cpus.up_read), (memory.down_write, memory.up_write))


class NodeWatch:
    """Tasks that wait until a node's memory has come online: one that looks late, when it has gone again, goes on."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._waiting: dict[int, list[Actor]] = {}
        self._ops: dict[int, Op] = {}
        self._come = NodeMask(machine.pages.states.memory)
        self._resource = machine.interleaver.resource("memory of nodes")
        self.tell = Op(OpKind.SIGNAL, self._resource)

    def wait(self, node: int) -> Op:
        """The operation to await."""
        op = self._ops.get(node)
        if op is None:

            def admit(actor: Actor) -> None:
                if node not in self._come:
                    self._waiting.setdefault(node, []).append(actor)
                    actor.block()

            op = self._ops[node] = Op(OpKind.WAIT, self._resource, admit=admit)
        return op

    def came_online(self, node: int) -> None:
        """Let those go on who waited for `node`, and those who will."""
        self._come.set(node)
        for actor in self._waiting.pop(node, []):
            actor.unblock()


class MemoryHotplug:
    """The locks, the notifier chain and the procedures of memory hotplug.  ``ranges`` has each node's page frames."""

    def __init__(self, machine: Machine, section: HotplugSection, ranges: dict[int, tuple[int, int]]) -> None:
        self.machine = machine
        self._section = section
        self.ranges = ranges
        self.device_hotplug_lock = Mutex(machine, "device_hotplug_lock")
        self.mem_hotplug_lock = PercpuRwsem(machine, "mem_hotplug_lock", machine.rcu.synchronize_rcu)
        self.mem_hotplug_mutex = Mutex(machine, "mem_hotplug_mutex")
        self.chain_rwsem = RwSemaphore(machine, "(memory_chain).rwsem")
        self.chain = NotifierChain(machine.interleaver, "memory_chain")
        self.watch = NodeWatch(machine)
        self.notifier: HotplugNotifier  # the thread that carries requests out, set by boot

    async def request(self, online: bool, node: int) -> int:
        """Have a node's memory brought online or taken offline, and sleep until that is done; 0 or a negative errno."""
        kind = OnlineMemory if online else OfflineMemory
        reply = Reply(self.machine.interleaver, f"{'online' if online else 'offline'} of node {node}")
        answer: int = await ask(self.notifier.mailbox, kind(reply, node))
        return answer

    async def memory_notify(self, event: MemoryEvent, data: MemoryNotify) -> int:
        """Tell the chain, under the read side of its semaphore; 0 or the errno of who refused."""
        async with self.chain_rwsem.read():
            return await self.chain.call(event, data)

    async def online_pages(self, request: OnlineMemory) -> int:
        """Bring the memory of a node online; 0 or a negative errno."""
        node = request.node
        machine = self.machine
        states = machine.pages.states
        async with self.device_hotplug_lock, self._section.held(self):
            if node in states.memory or not self.ranges[node][1]:
                return -EINVAL
            start_pfn, nr_pages = self.ranges[node]
            data = MemoryNotify(start_pfn, nr_pages, status_change_nid_normal=node, status_change_nid=node)
            error = await self.memory_notify(MemoryEvent.GOING_ONLINE, data)
            if error:
                await self.memory_notify(MemoryEvent.CANCEL_ONLINE, data)
                machine.printk("warning", f"online_pages of node {node} failed", errno=error)
                return error
            await ask(
                machine.nodes[node].mailbox,
                OnlineBlocks(Reply(machine.interleaver, f"node {node} online"), start_pfn, nr_pages),
            )
            await states.write
            states.set_memory(node)
            states.online.set(node)
            await machine.pages.write_zonelists
            machine.pages.build_all_zonelists(list(states.memory))
            await self.memory_notify(MemoryEvent.ONLINE, data)
        machine.count("nodes_onlined")
        machine.printk("info", f"node {node} online", pages=nr_pages)
        await self.watch.tell
        self.watch.came_online(node)
        return 0

    async def offline_pages(self, request: OfflineMemory) -> int:
        """Take the memory of a node offline; 0 or a negative errno (-16, EBUSY, where pages are in use)."""
        node = request.node
        machine = self.machine
        states = machine.pages.states
        async with self.device_hotplug_lock, self._section.held(self):
            if node not in states.memory:
                return -EINVAL
            start_pfn, nr_pages = self.ranges[node]
            data = MemoryNotify(start_pfn, nr_pages, status_change_nid_normal=node, status_change_nid=node)
            error = await self.memory_notify(MemoryEvent.GOING_OFFLINE, data)
            if not error:
                reply = Reply(machine.interleaver, f"node {node} offline")
                error = (
                    0 if await ask(machine.nodes[node].mailbox, OfflineBlocks(reply, start_pfn, nr_pages)) else -EBUSY
                )
            if error:
                await self.memory_notify(MemoryEvent.CANCEL_OFFLINE, data)
                machine.printk("warning", f"offline_pages of node {node} failed", errno=error)
                return error
            await machine.pages.write_zonelists
            machine.pages.build_all_zonelists([other for other in states.memory if other != node])
            await states.write
            states.clear_memory(node)
            await self.memory_notify(MemoryEvent.OFFLINE, data)
        machine.count("nodes_offlined")
        machine.printk("info", f"node {node} offline", pages=nr_pages)
        return 0
