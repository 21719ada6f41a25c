"""Memory hotplug of one machine: its blocks, locks and chain, and how a task asks for it."""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from ...actors import Op, OpKind
from ..locks import Mutex
from ..stack import kernel_name
from .block import BlockState, MemoryBlocks, OnlineType
from .chain import ErrorInjection, MemoryChain
from .files import write_state
from .watch import NodeWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..machine import Machine
    from .block import MemoryBlock
    from .drains import OfflineDrains
    from .section import HotplugExtent, HotplugLocks


class MemoryHotplug:
    """The blocks of all nodes, by number, whether they are online or not.

    `ranges` has each node's page frames, `locks`, `extent` and `drains` are the variants of the release.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        locks: Callable[[Machine], HotplugLocks],
        extent: HotplugExtent,
        drains: OfflineDrains,
        ranges: Mapping[int, tuple[int, int]],
        pages_per_block: int,
        error_injection: int | None = None,
    ) -> None:
        self.machine = machine
        self.locks = locks(machine)
        self.mem_hotplug_lock = self.locks.mem_hotplug_lock
        self.extent = extent
        self.drains = drains
        self.pages_per_block = pages_per_block
        self.device_hotplug_lock = Mutex(machine, "device_hotplug_lock")
        self.chain = MemoryChain(machine)
        self.watch = NodeWatch(machine)
        self.policy = OnlineType.OFFLINE  # ``auto_online_blocks``
        policy = machine.interleaver.resource("auto_online_blocks")
        self.read_policy = Op(OpKind.READ, policy)
        self.write_policy = Op(OpKind.WRITE, policy)
        self.injection: ErrorInjection | None = None
        if error_injection is not None:
            self.injection = ErrorInjection(machine, error_injection)
            self.chain.notifiers.register(self.injection.block)
        self.blocks = MemoryBlocks(machine, ranges, pages_per_block)

    def blocks_of(self, node: int) -> list[MemoryBlock]:
        """The blocks of a node, by address."""
        return [self.blocks[number] for number in self.blocks.numbers(node)]

    @kernel_name("vfs_write")
    async def request(self, online: bool, node: int, kind: OnlineType | None = None) -> int:
        """Bring a node's memory online, or take it offline, as a script does that writes to the files of its blocks.

        One block after the other, the last first to go; stops at the first that fails.  Blocks that are as wanted
        already are passed over.  To which zones memory comes is said by `kind`, or else by ``auto_online_blocks``.
        Returns 0 or a negative errno: EINVAL where there was nothing to do.
        """
        wanted = OnlineType.OFFLINE
        if online:
            await self.read_policy
            wanted = kind or self.policy
            if wanted is OnlineType.OFFLINE:
                wanted = OnlineType.ONLINE
        target = BlockState.ONLINE if online else BlockState.OFFLINE
        answer = -EINVAL
        for number in self.blocks.numbers(node)[:: 1 if online else -1]:
            block = self.blocks[number]
            await block.read
            if block.state is not target:
                answer = await write_state(self, block, wanted.value)
                if answer:
                    break
        return answer
