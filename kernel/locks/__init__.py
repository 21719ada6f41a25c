"""The kernel's locks, under the kernel's names.

Every lock belongs to a lock class, named as lockdep names it (``slab_mutex``, ``&n->list_lock``).  Acquiring and
releasing are operations; the attempt is announced (``lock:lock_acquire``) before the operation, as in the kernel, so
that lockdep sees an inversion before it can become a deadlock.  Subclasses, versions and pseudo locks: see `classes`.
"""

from .classes import acquire_map as acquire_map
from .classes import lock_class as lock_class
from .classes import release_map as release_map
from .completion import Completion as Completion
from .mutex import Mutex as Mutex
from .percpu_rwsem import PercpuRwsem as PercpuRwsem
from .rwsem import RwSemaphore as RwSemaphore
from .spinlock import Spinlock as Spinlock
from .together import Together as Together
