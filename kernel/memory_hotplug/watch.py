"""Tasks of a workload that wait until a node has memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors import Op, OpKind
from ..node_states import NodeMask

if TYPE_CHECKING:
    from ...actors import Actor
    from ..machine import Machine


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
