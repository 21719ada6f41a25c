"""CPU hotplug: processors that come and go.

Mirrors kernel/cpu.c, kernel/stop_machine.c and the hotplug parts of kernel/sched/core.c (6.1).

**Who meets here.**  The *control* thread (who writes to /sys, or calls cpu_up() or cpu_down()) walks a processor
through its states, on whatever processor it runs itself.  What must run on the processor concerned is done there: by
its thread ``cpuhp/N`` while the processor can run threads, by its idle task ``swapper/N`` when it has just started or
is about to die, by its stopper ``migration/N`` in between.

**States** (`CpuhpState`, with the numbers of 6.1) are passed one by one, upward by their `startup`, downward by their
`teardown`; those without are skipped.

================= ============================= =====================================================================
section           states                        who calls back, where
================= ============================= =====================================================================
PREPARE           OFFLINE … BRINGUP_CPU         the control thread; downward these are the DEAD callbacks
STARTING          AP_IDLE_DEAD … AP_ONLINE      up: ``swapper/N``; down: ``migration/N`` while all other processors are
                                                stopped; interrupts off, may not fail
(teardown)        TEARDOWN_CPU                  the control thread: stop_machine(), wait for the death
ONLINE            AP_ONLINE_IDLE … ONLINE       ``cpuhp/N`` on the processor itself
================= ============================= =====================================================================

A callback that fails stops the walk, and what was passed is undone in the opposite order; the transition returns its
errno.  Downward, a failure below TEARDOWN_CPU cannot be undone in full and is only warned of: DEAD callbacks must not
fail.

**Going down**, in this order: ``sched:active`` (no ordinary thread runs or wakes up there any more; a grace period) →
dynamic online states → RCU → workqueues (workers may run elsewhere) → per-CPU threads parked → nobody left on the run
queue → ``cpuhp/N`` parked → all processors stopped, `online` is cleared, messages that wait are handled → the others
go on → RCU waits for it no more → dead → its callbacks are taken over → timers, RCU, page allocator, memcg stock,
…, SLUB.  So between the clearing of `online` and SLUB_DEAD a processor that runs nothing still owns slabs and counters.

**Locks**, outermost first::

    device_hotplug_lock → &dev->mutex     requests from /sys and from add_cpu(), remove_cpu()
    cpu_add_remove_lock                   one transition at a time; cpu_hotplug_disable()
    cpu_hotplug_lock (write)              the whole transition; readers see no processor come or go
    cpuhp_state-up, cpuhp_state-down      no locks, classes for lockdep: held around callbacks of ``cpuhp/N``, which
                                          also counts as holder of cpu_hotplug_lock; taken and left at once by the
                                          control thread before it waits for ``cpuhp/N``
    stop_cpus_mutex, sparse_irq_lock      around the stop; around bringing up and taking down
    smpboot_threads_lock                  around parking and unparking threads of subsystems
    cpuhp_state_mutex                     under cpu_hotplug_lock (read): the table of states

**Releases.**  The state machine is that of 6.1 in all of them, although the kernel had notifier chains in its place up
to 4.9; what is registered differs (`page_alloc`, `quarantine`).

**Booting** (`boot.smp_init`): the processors that are online at boot pass their states before the first decision of
the run, one after the other, alone on the machine; so lockdep knows the order of locks from there.
"""

from .api import CpuHotplug
from .states import CpuhpState

__all__ = ["CpuHotplug", "CpuhpState"]
