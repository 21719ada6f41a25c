"""Control groups, and the accounting of kernel memory for them.

A cgroup's life is in `cgroup`, with its references (`percpu_ref`), counters (`page_counter`, `charge`) and what is put
off (`deferred`).  How its kernel memory is accounted has two eras: caches of its own up to 5.8 (`child_caches`,
`cache_ids`, `deactivation`, `reparenting`, `dying`), an owner for each object from 5.9 on (`objects`, `objcg`,
`stock`); `kmem` is the seam between them and SLUB.  `files` are those of /sys/fs/cgroup.
"""

from .cgroup import Cgroup, Cgroups
from .kmem import KmemMemcg
from .memcg import MemCgroup

__all__ = ["Cgroup", "Cgroups", "KmemMemcg", "MemCgroup"]
