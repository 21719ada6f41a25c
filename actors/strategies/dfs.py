"""Depth first: every behaviour of a small configuration, each once.

Stateless search with sleep sets (Godefroid, *Partial-order methods for the verification of concurrent systems*, 1996),
as exploration.md 3.7 gives it.  The tree's nodes are the decisions of a run; a run repeats those of the branch it is
on and then takes the first way that is left.  When every way on from a node by actor ``a`` has been tried, ``a`` sleeps
in the ways that remain, until a step is made that conflicts with the step ``a`` made from here: before that, going on
with ``a`` would lead to behaviours that are known.  A run in which everybody sleeps is cut off.

Footprints are observed while steps are made (declared ones, and what is touched beyond), joined over all ways in which
choices within the step were answered.  With honest footprints each Mazurkiewicz class is completed exactly once for
each way in which its choices can be answered; answers to who goes on may lead to the same class again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..resource import Access, conflict
from .base import Strategy, TapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actor import Actor
    from ..interleaver import Interleaver
    from ..operation import Op
    from ..resource import Resource

Footprint = dict[int, Access]
"""What one step did to each resource, by identity."""


def _conflict(first: Footprint, second: Footprint) -> bool:
    if len(second) < len(first):
        first, second = second, first
    return any(identity in second and conflict(access, second[identity]) for identity, access in first.items())


def _join(into: Footprint, other: Footprint) -> None:
    for identity, access in other.items():
        known = into.get(identity)
        into[identity] = access if known is None or known is access else Access.WRITE


class _Pick:
    """A decision who steps next, among ``options``; ``asleep`` need not be tried here."""

    __slots__ = ("asleep", "chosen", "footprint", "options")

    def __init__(self, options: list[int], asleep: dict[int, Footprint], chosen: int) -> None:
        self.options = options
        self.asleep = asleep
        self.chosen = chosen
        self.footprint: Footprint = {}

    def advance(self) -> bool:
        """Go on to the next option; false where none is left."""
        self.asleep[self.chosen] = self.footprint
        self.footprint = {}
        for option in self.options:
            if option not in self.asleep:
                self.chosen = option
                return True
        return False


class _Choice:
    """Another decision: each answer below ``n`` leads somewhere else."""

    __slots__ = ("chosen", "n")

    def __init__(self, n: int) -> None:
        self.n = n
        self.chosen = 0

    def advance(self) -> bool:
        """Go on to the next answer; false where none is left."""
        self.chosen += 1
        return self.chosen < self.n


class ExhaustiveSearch:
    """The tree, over all runs: `strategy` for a run, then `advance`, until that says that everything was seen."""

    def __init__(self) -> None:
        self.branch: list[_Pick | _Choice] = []
        self.completed = 0
        self.pruned = 0

    def strategy(self) -> DepthFirst:
        """What decides in the next run."""
        return DepthFirst(self)

    def advance(self, *, pruned: bool) -> bool:
        """Take note of a run that is over, and turn to the next branch; false where there is none."""
        if pruned:
            self.pruned += 1
        else:
            self.completed += 1
        while self.branch:
            if self.branch[-1].advance():
                return True
            self.branch.pop()
        return False


class DepthFirst(Strategy):
    """One run of an `ExhaustiveSearch`."""

    name: ClassVar[str] = "dfs"
    watches_steps: ClassVar[bool] = True
    watches_touches: ClassVar[bool] = True

    def __init__(self, search: ExhaustiveSearch) -> None:
        self.pruned = False
        self._branch = search.branch
        self._depth = 0
        self._asleep: dict[int, Footprint] = {}
        self._footprint: Footprint = {}
        self._node: _Pick | None = None  # whose step is being made
        self._last = -1
        self._host: Resource | None = None
        self._interleaver: Interleaver

    def begin(self, interleaver: Interleaver) -> None:
        """Know whom to stop."""
        self._interleaver = interleaver

    def on_step(self, actor: Actor, op: Op) -> None:
        """The step before is complete: wake whom it concerns; then begin with the footprint of this one."""
        self._settle()
        if actor.serial in self._asleep:
            self._prune()
        self._last = actor.serial
        self._footprint = {actor.host.identity: Access.WRITE}
        if op.access:
            self.touch(op.resource, op.access)

    def touch(self, resource: Resource, access: Access) -> None:
        """Add to the footprint of the step being made."""
        if resource.identity:
            _join(self._footprint, {resource.identity: access})

    def _settle(self) -> None:
        """Use the footprint of the last step, once."""
        footprint, self._footprint = self._footprint, {}
        if not footprint:
            return
        if self._node is not None:
            _join(self._node.footprint, footprint)
            self._node = None
        asleep = self._asleep
        for serial in [serial for serial, other in asleep.items() if _conflict(footprint, other)]:
            del asleep[serial]

    def _prune(self) -> None:
        if not self.pruned:
            self.pruned = True
            self._interleaver.prune()

    def pick(self, enabled: Sequence[Actor]) -> int:
        """The branch's actor, or beyond its end the first that is awake."""
        self._settle()
        slots = {actor.serial: actor.slot for actor in enabled}
        if self._depth == len(self._branch):
            # Who has made the last step comes first: the runs with few preemptions do.
            options = sorted(slots, key=lambda serial: (serial != self._last, serial))
            chosen = next((serial for serial in options if serial not in self._asleep), None)
            if chosen is None or self.pruned:
                self._prune()
                return 0
            self._branch.append(_Pick(options, dict(self._asleep), chosen))
        node = self._branch[self._depth]
        if not isinstance(node, _Pick) or node.chosen not in slots:
            raise TapeError("the same decisions led somewhere else: the program does not depend on them alone")
        self._depth += 1
        self._asleep = dict(node.asleep)
        self._node = node
        return slots[node.chosen]

    def choose(self, kind: str, n: int) -> int:
        """The branch's answer, or beyond its end 0."""
        if self._depth == len(self._branch):
            if self.pruned:
                return 0
            self._branch.append(_Choice(n))
        node = self._branch[self._depth]
        if not isinstance(node, _Choice) or node.n != n:
            raise TapeError("the same decisions led somewhere else: the program does not depend on them alone")
        self._depth += 1
        return node.chosen
