"""SLUB, as in 6.1.

Read, for the data, flags, sizing, geometry, merging, kmalloc, cache; for the life of a cache create, destroy; for that
of an object allocate, free, with new_slab, partial, cpu_partial, cpu_slab, node; then cpu_flush, shrink, hotplug; what
people see in procfs and sysfs; SLUB's own debugging in debug and its parts.

Lock order: ``cpu_hotplug_lock`` → ``slab_mutex`` → ``flush_lock`` → ``n->list_lock`` → ``cpu_slab->lock``.

A slab is, at any time, in exactly one place: a processor's (frozen, ``c->slab``), on a processor's partial list
(frozen), on its node's partial list, full (on no list, or the node's full list under SLAB_STORE_USER), in flight
(private to one code path), waiting for RCU, or free.  Objects on a processor's free list count as in use.  They are
addresses, never Python objects.
"""

from .slub import Slub as Slub
