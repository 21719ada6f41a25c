"""``refcount_t``: a reference counter that would rather leak than wrap.

Mirrors refcount_inc(), refcount_inc_not_zero(), refcount_dec_and_test(), refcount_set() and refcount_warn_saturate() of
include/linux/refcount.h and lib/refcount.c (6.1).  A counter that was made wrong use of is *saturated* for good: it
never reaches zero again.

Every operation is one step, except `set`, which is a plain store: part of the step its caller makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import Access, Op, OpKind
from .stack import kernel_name

if TYPE_CHECKING:
    from .machine import Machine
    from .memory import Shadow

SATURATED = -(1 << 30)
"""``REFCOUNT_SATURATED``, half way to the wrap."""


class Refcount:
    """A counter; `name` is what the trace calls it, the structure it belongs to is whose part it is (``embedded``)."""

    __slots__ = ("_change", "_machine", "shadow", "value")

    def __init__(self, machine: Machine, name: str, value: int = 0) -> None:
        self.shadow: Shadow | None = None
        self._machine = machine
        self._change = Op(OpKind.UPDATE, machine.interleaver.resource(name))
        self.value = value

    @kernel_name("refcount_set")
    def set(self, value: int) -> None:
        """Store a number of references (``refcount_set``); the first one belongs to who stores it."""
        touch = self._machine.interleaver.touch
        if touch is not None:
            touch(self._change.resource, Access.WRITE)
        self.value = value

    @kernel_name("refcount_inc")
    async def inc(self) -> None:
        """Take a reference; the caller has one already (``refcount_inc``)."""
        await self._change
        if self.value <= 0:
            self._saturate("addition on 0; use-after-free" if not self.value else "saturated; leaking memory")
            return
        self.value += 1
        self._got()

    @kernel_name("refcount_inc_not_zero")
    async def inc_not_zero(self) -> bool:
        """Take a reference unless there is none left; whether it was taken (``refcount_inc_not_zero``)."""
        await self._change
        if not self.value:
            return False
        if self.value > 0:
            self.value += 1
        self._got()
        return True

    @kernel_name("refcount_dec_and_test")
    async def dec_and_test(self) -> bool:
        """Give a reference back; whether it was the last one (``refcount_dec_and_test``)."""
        await self._change
        if self.value <= 0:
            if self.value != SATURATED:
                self._saturate("underflow; use-after-free")
            return False
        self.value -= 1
        if self.shadow is not None and (fire := self._machine.tracepoints.reference_put.fire) is not None:
            fire(self.shadow.address, self.value)
        return not self.value

    def _got(self) -> None:
        if self.shadow is not None and (fire := self._machine.tracepoints.reference_get.fire) is not None:
            fire(self.shadow.address, self.value)

    def _saturate(self, what: str) -> None:
        from .sanitizers.oops import refcount_warning  # a report is needed only when there is one

        self.value = SATURATED
        refcount_warning(self._machine, what)
