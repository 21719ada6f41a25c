"""The graph of lock classes, and which paths through it mean a deadlock.

Mirrors struct lock_class, struct lock_list and __bfs() of kernel/locking/lockdep.c (6.1), Documentation/locking/
lockdep-design.rst for the reasons.

An edge A → B says that B was taken while A was held.  It has up to four kinds: A was held exclusively (E) or shared
(S), B was taken so that it waits for readers (N) or as a recursive reader (R).  A recursive reader does not wait for
somebody who holds the lock shared, so an edge -(xR)-> before an edge -(Sx)-> breaks a path: only a *strong* path, one
without that pair, can be a deadlock.

Unlike the kernel, which looks at each class once, a class that was reached by a recursive reader only is looked at
again when it is reached otherwise: a strong path behind a weak one is found too.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .lockdep_usage import characters

if TYPE_CHECKING:
    from collections.abc import Callable

Stack = tuple[str, ...]

SR, ER, SN, EN = 1, 2, 4, 8
"""Kinds of an edge, as bits of a mask."""


@dataclass(slots=True, eq=False)
class LockClass:
    """A lock class: its name has the version and the subclass in it (``&x->lock#2/1``)."""

    name: str
    wait_type: str  # "outer:inner"
    usage_mask: int = 0
    usage_stacks: dict[int, Stack] = field(default_factory=dict)  # by usage, where it was first seen
    after: dict[str, Edge] = field(default_factory=dict)  # taken while this one was held, in order of first sight
    before: dict[str, Edge] = field(default_factory=dict)  # held while this one was taken
    outer: int = field(init=False)  # what a context must be able to wait for where this is taken
    inner: int = field(init=False)  # what a holder may wait for, 0 where that is not checked

    def __post_init__(self) -> None:
        """Read the wait type."""
        outer, _, inner = self.wait_type.partition(":")
        self.outer, self.inner = int(outer), int(inner)

    def usage(self) -> str:
        """The ``{+.+.}`` of the reports."""
        return characters(self.usage_mask)

    def describe(self) -> str:
        """``(name){usage}-{outer:inner}``."""
        return f"({self.name}){{{self.usage()}}}-{{{self.wait_type}}}"


@dataclass(slots=True, eq=False)
class Edge:
    """``to`` was taken while ``source`` was held; first seen at ``stack``.  ``kinds`` is a mask."""

    source: LockClass
    to: LockClass
    stack: Stack
    kinds: int = EN


class Node:
    """One class on the way of a search; ``edge`` led there from ``parent``."""

    __slots__ = ("edge", "lock_class", "only_weak", "parent")

    def __init__(self, lock_class: LockClass, parent: Node | None, edge: Edge | None, *, only_weak: bool) -> None:
        self.lock_class = lock_class
        self.parent = parent
        self.edge = edge
        self.only_weak = only_weak  # only edges led here that the next one might break

    def path(self) -> list[Edge]:
        """The edges from the start of the search to here."""
        edges: list[Edge] = []
        node: Node | None = self
        while node is not None and node.edge is not None:
            edges.append(node.edge)
            node = node.parent
        return edges[::-1]

    def classes(self) -> list[LockClass]:
        """The classes from here back to the start of the search."""
        found = []
        node: Node | None = self
        while node is not None:
            found.append(node.lock_class)
            node = node.parent
        return found


def edge_kind(*, shared: bool, recursive: bool) -> int:
    """The kind of an edge from a lock held exclusively or `shared` to one taken as a `recursive` reader or not."""
    return 1 << ((not shared) + ((not recursive) << 1))


class Graph:
    """All classes by name, and the edges between them; ``usage_mask`` has every usage that some class has."""

    def __init__(self, wait_type: Callable[[str], str]) -> None:
        self.classes: dict[str, LockClass] = {}
        self.usage_mask = 0
        self._wait_type = wait_type

    def lock_class(self, name: str) -> LockClass:
        """The class of that name; made on first use."""
        found = self.classes.get(name)
        if found is None:
            found = self.classes[name] = LockClass(name, self._wait_type(name))
        return found

    @staticmethod
    def add_edge(source: LockClass, to: LockClass, kind: int, stack: Stack) -> None:
        """Remember that `to` was taken under `source`."""
        edge = source.after.get(to.name)
        if edge is None:
            source.after[to.name] = to.before[source.name] = Edge(source, to, stack, kind)
        else:
            edge.kinds |= kind


def search_forwards(source: LockClass, *, recursive: bool, match: Callable[[Node], bool]) -> Node | None:
    """The nearest class that fulfils `match` on a strong path from `source`, which counts as the first.

    `recursive` says that `source` is taken as a recursive reader.
    """
    return _search(Node(source, None, None, only_weak=recursive), match, forwards=True)


def search_backwards(source: LockClass, *, shared: bool, match: Callable[[Node], bool]) -> Node | None:
    """The same against the edges; `shared` says that `source` is held for reading."""
    return _search(Node(source, None, None, only_weak=shared), match, forwards=False)


def _search(start: Node, match: Callable[[Node], bool], *, forwards: bool) -> Node | None:
    if match(start):
        return start
    if not (start.lock_class.after if forwards else start.lock_class.before):
        return None
    broken, strong = (SR | SN, SN | EN) if forwards else (SR | ER, ER | EN)
    seen: dict[str, bool] = {start.lock_class.name: start.only_weak}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        edges = node.lock_class.after if forwards else node.lock_class.before
        for edge in edges.values():
            kinds = edge.kinds
            if node.only_weak:
                kinds &= ~broken
            if not kinds:
                continue
            only_weak = not kinds & strong
            reached = edge.to if forwards else edge.source
            before = seen.get(reached.name)
            if before is not None and before <= only_weak:
                continue
            seen[reached.name] = only_weak
            found = Node(reached, node, edge, only_weak=only_weak)
            if match(found):
                return found
            queue.append(found)
    return None
