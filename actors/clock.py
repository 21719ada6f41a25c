"""Virtual time, in nanoseconds.

Under a *costed* clock each processor (and each machine part that belongs to no processor) has a clock of its own
which the operations it performs advance; the ``timed`` strategy lets the earliest clock go first.  Under an exploring
strategy cost is ignored: every step is one nanosecond, so that time stamps stay distinct and in order.
"""


class Clock:
    """The virtual time one processor has reached; shared by all that runs on it."""

    __slots__ = ("ns",)

    def __init__(self, ns: int = 0) -> None:
        self.ns = ns
