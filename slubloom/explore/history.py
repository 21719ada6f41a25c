"""What happened in a run, step by step: enough to tell it, and to find which steps depend on which."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..actors import Access, KernelThread, OpKind
from ..actors.resource import conflict
from ..actors.softirq import SoftIrq
from ..kernel.stack import stack_of

if TYPE_CHECKING:
    from ..actors import Actor, Op, Resource

_PHRASES: dict[OpKind, str] = {
    OpKind.READ: "reads {}",
    OpKind.WRITE: "writes {}",
    OpKind.UPDATE: "updates {}",
    OpKind.COMMUTE: "adds to {}",
    OpKind.ACQUIRE: "{}↓",
    OpKind.RELEASE: "{}↑",
    OpKind.SEND: "→ {}",
    OpKind.RECEIVE: "takes from {}",
    OpKind.WAIT: "waited for {}",
    OpKind.SIGNAL: "signals {}",
    OpKind.SLEEP: "slept",
    OpKind.START: "starts",
}


@dataclass(slots=True)
class Event:
    """One step: number ``step`` of the actor called ``actor``.  ``stack`` are kernel functions, innermost first.

    ``footprint`` is what it did to which resource, by identity; the processor it ran on (``host``) is not in it.
    """

    index: int
    actor: str
    serial: int
    step: int
    cpu: int
    is_thread: bool
    kind: OpKind
    resource: str
    identity: int
    access: Access
    host: int
    stack: tuple[str, ...]
    footprint: dict[int, Access] = field(default_factory=dict)

    @property
    def phrase(self) -> str:
        """What it did, in a few words."""
        if self.kind is OpKind.SEND:
            return "→ " + self.resource.removeprefix("mailbox of ")
        return _PHRASES.get(self.kind, "{}").format(self.resource)

    @property
    def where(self) -> str:
        """The function it did it in; empty outside every function that has a name in the kernel."""
        return self.stack[0] if self.stack else ""

    @property
    def text(self) -> str:
        """The step in one line, without its actor."""
        return f"{self.where}: {self.phrase}" if self.where else self.phrase

    def conflicts(self, other: Event) -> bool:
        """Whether the order of the two steps' operations can matter."""
        return (
            self.host != other.host
            and self.identity == other.identity
            and bool(self.identity)
            and conflict(self.access, other.access)
        )

    def changes(self, other: Event) -> bool:
        """Whether this step changes, beside its own operation, what the other one's operation is about."""
        return (
            self.host != other.host
            and self.footprint.get(other.identity, Access.NONE) > Access.READ
            and not other.resource.startswith("mailbox of ")
        )


class History:
    """Observes one run; ``events`` in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._steps: dict[int, int] = {}

    def before_step(self, actor: Actor, op: Op) -> None:
        """Note the step that is about to be made."""
        step = self._steps[actor.serial] = self._steps.get(actor.serial, 0) + 1
        event = Event(
            index=len(self.events),
            actor=actor.name,
            serial=actor.serial,
            step=step,
            cpu=actor.cpu_id,
            is_thread=isinstance(actor, KernelThread | SoftIrq) or (actor.cpu_id < 0 and not actor.daemon),
            kind=op.kind,
            resource=op.resource.name,
            identity=op.resource.identity,
            access=op.access,
            host=actor.host.identity,
            stack=stack_of(actor),
        )
        if op.access and op.resource.identity:
            event.footprint[op.resource.identity] = op.access
        self.events.append(event)

    def touch(self, resource: Resource, access: Access) -> None:
        """Note what the step touches beyond its operation."""
        if not self.events:
            return  # before the first step
        event = self.events[-1]
        if resource.identity and resource.identity != event.host:
            known = event.footprint.get(resource.identity)
            event.footprint[resource.identity] = access if known is None or known is access else Access.WRITE

    def step_of(self, serial: int, step: int) -> Event | None:
        """Step number `step` of an actor, if it was made."""
        return next((event for event in self.events if event.serial == serial and event.step == step), None)


def shared_identities(events: list[Event]) -> dict[int, None]:
    """The resources that steps on different processors touched in ways that conflict."""
    users: dict[int, dict[int, Access]] = {}
    shared: dict[int, None] = {}
    for event in events:
        for identity, access in event.footprint.items():
            by_host = users.setdefault(identity, {})
            if any(host != event.host and conflict(access, other) for host, other in by_host.items()):
                shared[identity] = None
            by_host[event.host] = max(access, by_host.get(event.host, Access.NONE))
    return shared
