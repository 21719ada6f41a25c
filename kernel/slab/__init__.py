"""SLUB, as in 6.1: read geometry, cache, create, allocate, free, node, flush, shrink, destroy, hotplug, sysfs.

Lock order: ``cpu_hotplug_lock`` → ``slab_mutex`` → ``flush_lock`` → ``n->list_lock``.

A slab is, at any time, in exactly one place: a processor's (frozen, ``c->slab``), on its node's partial list, full
(on no list), in flight (private to one code path), waiting for RCU, or free.  ``free_mask`` has a bit for each object
on the slab's own free list; objects handed to a processor's free list count as in use.  Objects are addresses, never
Python objects.
"""

from .slub import Slub as Slub
