"""Nodemasks: which nodes are possible, online, and have memory.

Mirrors ``node_states[]`` of mm/page_alloc.c and <linux/nodemask.h> (6.1).  A mask is changed by the operation that
changes the machine; readers look without a lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import Op, OpKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .machine import Machine


class NodeMask:
    """A set of node numbers, iterated in increasing order."""

    __slots__ = ("_bits",)

    def __init__(self, nodes: Iterable[int] = ()) -> None:
        self._bits = 0
        for node in nodes:
            self.set(node)

    def set(self, node: int) -> None:
        """Put `node` in (``node_set``)."""
        self._bits |= 1 << node

    def clear(self, node: int) -> None:
        """Take `node` out (``node_clear``)."""
        self._bits &= ~(1 << node)

    def __contains__(self, node: int) -> bool:
        return bool(self._bits >> node & 1) if node >= 0 else False

    def __iter__(self) -> Iterator[int]:
        bits = self._bits
        while bits:
            low = bits & -bits
            yield low.bit_length() - 1
            bits ^= low

    def __repr__(self) -> str:
        return f"NodeMask({list(self)})"


class NodeStates:
    """``N_POSSIBLE``, ``N_ONLINE``, ``N_NORMAL_MEMORY``, ``N_MEMORY`` and ``N_CPU``."""

    __slots__ = ("_machine", "cpu", "memory", "normal_memory", "online", "possible", "read", "resource", "write")

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.possible = NodeMask()
        self.online = NodeMask()
        self.normal_memory = NodeMask()
        self.memory = NodeMask()
        self.cpu = NodeMask()
        self.resource = machine.interleaver.resource("node_states[]")
        self.read = Op(OpKind.READ, self.resource)
        self.write = Op(OpKind.WRITE, self.resource)

    def set_memory(self, node: int, *, normal: bool = True, memory: bool = True) -> None:
        """The node has memory now, of the kernel's zones or at all (``node_states_set_node``)."""
        self._change(node, normal, memory, 1)

    def clear_memory(self, node: int, *, normal: bool = True, memory: bool = True) -> None:
        """The node has none any more (``node_states_clear_node``)."""
        self._change(node, normal, memory, 0)

    def _change(self, node: int, normal: bool, memory: bool, value: int) -> None:
        fire = self._machine.tracepoints.node_state.fire
        for name, mask, wanted in (
            ("N_NORMAL_MEMORY", self.normal_memory, normal),
            ("N_MEMORY", self.memory, memory),
        ):
            if wanted:
                (mask.set if value else mask.clear)(node)
                if fire is not None:
                    fire(name, node, value)
