"""Weights of actors, for drawing one in proportion: a Fenwick tree over serial numbers.

Changing a weight and drawing cost O(log actors).
"""

from __future__ import annotations


class Weights:
    """A weight ≥ 0 for each index ≥ 0; those never set weigh nothing."""

    __slots__ = ("_size", "_tree", "_weights", "total")

    def __init__(self) -> None:
        self._size = 16
        self._tree = [0] * (self._size + 1)
        self._weights = [0] * self._size
        self.total = 0

    def __getitem__(self, index: int) -> int:
        return self._weights[index] if index < self._size else 0

    def __setitem__(self, index: int, weight: int) -> None:
        while index >= self._size:
            self._grow()
        change = weight - self._weights[index]
        if not change:
            return
        self._weights[index] = weight
        self.total += change
        tree, size = self._tree, self._size
        position = index + 1
        while position <= size:
            tree[position] += change
            position += position & -position

    def find(self, mark: int) -> int:
        """The index in whose share of 0 … ``total`` - 1 `mark` falls."""
        position, step, tree = 0, self._size, self._tree
        while step:
            following = position + step
            if following <= self._size and tree[following] <= mark:
                position = following
                mark -= tree[following]
            step >>= 1
        return position

    def _grow(self) -> None:
        weights = self._weights
        self._size *= 2
        self._tree = [0] * (self._size + 1)
        self._weights = [0] * self._size
        self.total = 0
        for index, weight in enumerate(weights):
            self[index] = weight
