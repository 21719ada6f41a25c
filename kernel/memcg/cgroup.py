"""Control groups: the hierarchy, and the life of a memory cgroup in it.

Mirrors cgroup_mkdir(), cgroup_rmdir(), cgroup_attach_task(), cgroup_exit(), kill_css(), css_killed_work_fn(),
css_release_work_fn() and css_free_work_fn() of kernel/cgroup/cgroup.c, and mem_cgroup_css_online(),
mem_cgroup_css_offline() and mem_cgroup_css_free() of mm/memcontrol.c.

Who meets: those who make and remove cgroups, tasks that move and exit, everybody with a reference to a memory cgroup,
and the items on the queue ``cgroup_destroy``.  ``cgroup_mutex`` protects the hierarchy and orders coming online and
going offline; ``css_set_lock`` the number of tasks.  Order: ``cgroup_mutex`` → ``css_set_lock``; and ``cgroup_mutex`` →
whatever the accounting of kernel memory takes (see `kmem`).

The life of a cgroup, and what leads on:

============ =====================================================================================================
online       made by mkdir, once its kernel memory can be accounted
killed       by rmdir, if no task and no cgroup is in it: the name is free again, ``tryget_live`` fails
offline      after a grace period, by an item of ``cgroup_destroy``, under ``cgroup_mutex``
released     by an item too, when the last reference was put: nobody below, no page charged, no cache that needs it
freed        after one more grace period, by a third item
============ =====================================================================================================
"""

from __future__ import annotations

from errno import EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM
from typing import TYPE_CHECKING, Any

from ...actors import Access, Op, OpKind
from ..existence import KeptBy
from ..locks import Mutex, Spinlock
from ..memory import Structure, allocated, free_structure
from ..slab.sizing import PAGE_SIZE
from ..stack import kernel_name
from .deferred import CGROUP_DESTROY, Deferred
from .files import memory_max_write
from .memcg import STRUCT_SIZE, MemCgroup

if TYPE_CHECKING:
    from ...actors import Resource
    from ..machine import FunctionThread, Machine
    from ..shrinker import Shrinkers
    from .kmem import KmemMemcg


class Cgroup(Structure):
    """A directory of the hierarchy; ``path`` is relative to the root, which has none."""

    __slots__ = ("children", "memcg", "nr_tasks", "parent", "path")

    def __init__(self, path: str, parent: Cgroup | None, memcg: MemCgroup) -> None:
        self.shadow = None
        # Constant.
        self.path = path
        self.parent = parent
        self.memcg = memcg
        # cgroup_mutex: those that were not removed.
        self.children: dict[str, Cgroup] = {}
        # css_set_lock; only who holds cgroup_mutex brings one in.
        self.nr_tasks = 0


class Cgroups:
    """All cgroups of a machine.

    ``paths`` finds one by its path: changed under ``cgroup_mutex``, looked at without by who opens a file.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.cgroup_mutex = Mutex(machine, "cgroup_mutex")
        self.css_set_lock = Spinlock(machine, "css_set_lock")
        self.deferred = Deferred(machine)
        self.kmem: KmemMemcg | None = None  # None with cgroup.memory=nokmem
        self.shrinkers: Shrinkers | None = None  # None where nothing uses them
        self._tree = machine.interleaver.resource("cgroup directories")
        self._serial = 1
        root = MemCgroup(machine, "/", None, self._serial, self._never_released)
        self.root = Cgroup("", None, root)
        self.paths: dict[str, Cgroup] = {"": self.root}

    async def _never_released(self) -> None:
        self.machine.kernel_bug("the root cgroup is released")

    # --- the hierarchy

    def _tree_changes(self) -> None:
        touch = self.machine.interleaver.touch
        if touch is not None:
            touch(self._tree, Access.WRITE)

    async def look_up(self, path: str) -> Cgroup | None:
        """The cgroup at `path`, as opening a file finds it: without ``cgroup_mutex``."""
        await Op(OpKind.READ, self._tree)
        return self.paths.get(path.strip("/"))

    @kernel_name("cgroup_mkdir")
    async def mkdir(self, path: str) -> int:
        """Make the cgroup `path`, whose parent exists; 0 or a negative errno."""
        path = path.strip("/")
        above, _, name = path.rpartition("/")
        async with self.cgroup_mutex:
            parent = self.paths.get(above)
            if parent is None or not name:
                return -ENOENT if name else -EINVAL
            if path in self.paths:
                return -EEXIST
            memcg = self._mem_cgroup_css_alloc(parent.memcg, name)
            # The new one holds its parent, until it is freed.
            parent.memcg.css.get()
            parent.memcg.children_change()
            parent.memcg.children.append(memcg)
            if not await self._mem_cgroup_css_online(memcg):
                return -ENOMEM
            self._tree_changes()
            parent.children[name] = self.paths[path] = Cgroup(path, parent, memcg)
        self.machine.count("memcgs_created")
        return 0

    def _mem_cgroup_css_alloc(self, parent: MemCgroup, name: str) -> MemCgroup:
        machine = self.machine
        self._serial += 1

        async def css_release() -> None:
            await self.deferred.queue(CGROUP_DESTROY, "css_release_work_fn", lambda: self._css_release_work_fn(memcg))

        memcg = MemCgroup(machine, name, parent, self._serial, css_release)
        address = machine.static_address(STRUCT_SIZE)
        kept_by = KeptBy(readers=("rcu",), locks=("cgroup_mutex",), tracked=False)
        allocated(machine, memcg, "struct mem_cgroup", "kmalloc-4k", address, STRUCT_SIZE, kept_by=kept_by)
        if self.shrinkers is not None:
            self.shrinkers.css_alloc(memcg)
        return memcg

    @kernel_name("mem_cgroup_css_online")
    async def _mem_cgroup_css_online(self, memcg: MemCgroup) -> bool:
        """Account for a new cgroup; where memory runs out it ends, once nobody holds it: somebody may walk over it.

        (The kernel frees it after a grace period, whoever holds it.)
        """
        if self.kmem is None or await self.kmem.online(memcg):
            if self.shrinkers is None or await self.shrinkers.css_online(memcg):
                return True
            if self.kmem is not None:
                await self.kmem.offline(memcg)
        await memcg.css.kill(self.deferred)
        return False

    @kernel_name("cgroup_rmdir")
    async def rmdir(self, path: str) -> int:
        """Remove the cgroup `path`; 0 or a negative errno.  What it has comes to its end later, see the module."""
        path = path.strip("/")
        async with self.cgroup_mutex:
            cgroup = self.paths.get(path)
            if cgroup is None or cgroup.parent is None:
                return -ENOENT if cgroup is None else -EBUSY
            touch = self.machine.interleaver.touch
            if touch is not None:
                touch(self.css_set_lock.resource, Access.READ)
            if cgroup.children or cgroup.nr_tasks:
                return -EBUSY
            self._tree_changes()
            del cgroup.parent.children[cgroup.memcg.name], self.paths[path]
            memcg = cgroup.memcg
            # Killing puts the reference it was born with, and it must not be released before it is offline.
            memcg.css.get()
            await memcg.css.kill(self.deferred, lambda: self._css_killed_ref_fn(memcg))
        self.machine.count("memcgs_removed")
        return 0

    async def _css_killed_ref_fn(self, memcg: MemCgroup) -> None:
        await self.deferred.queue(CGROUP_DESTROY, "css_killed_work_fn", lambda: self._css_killed_work_fn(memcg))

    # --- the end of a cgroup, on the queue cgroup_destroy

    @kernel_name("css_killed_work_fn")
    async def _css_killed_work_fn(self, memcg: MemCgroup) -> None:
        async with self.cgroup_mutex:
            number = memcg.kmemcg_id
            if self.kmem is not None:
                await self.kmem.offline(memcg)
            if self.shrinkers is not None:
                await self.shrinkers.css_offline(memcg, number)
        self.machine.count("memcgs_offlined")
        await memcg.css.put()

    @kernel_name("css_release_work_fn")
    async def _css_release_work_fn(self, memcg: MemCgroup) -> None:
        async with self.cgroup_mutex:
            if memcg.parent is not None:
                memcg.parent.children_change()
                del memcg.parent.children[memcg.parent.child_after(memcg.serial) - 1]

        async def css_free_rcu_fn() -> None:
            await self.deferred.queue(CGROUP_DESTROY, "css_free_work_fn", lambda: self._css_free_work_fn(memcg))

        await self.deferred.call_rcu(css_free_rcu_fn)

    @kernel_name("css_free_work_fn")
    async def _css_free_work_fn(self, memcg: MemCgroup) -> None:
        parent = memcg.parent
        if self.kmem is not None:
            await self.kmem.free(memcg)
        if self.shrinkers is not None:
            await self.shrinkers.css_free(memcg)
        free_structure(memcg)
        self.machine.count("memcgs_freed")
        if parent is not None:
            await parent.css.put()

    # --- tasks

    @kernel_name("cgroup_attach_task")
    async def attach(self, path: str) -> int:
        """Move the running task to the cgroup `path`; 0 or a negative errno.  What it has allocated stays charged."""
        async with self.cgroup_mutex:
            cgroup = self.paths.get(path.strip("/"))
            if cgroup is None:
                return -ENOENT
            task = self.machine.current
            old = self.of_task(task)
            if old is cgroup:
                return 0
            async with self.css_set_lock.irqsave():
                old.nr_tasks -= task.cgroup is not None  # type: ignore[attr-defined]
                cgroup.nr_tasks += cgroup.parent is not None
            if cgroup.parent is not None:
                cgroup.memcg.css.get()
            task.cgroup = cgroup if cgroup.parent is not None else None  # type: ignore[attr-defined]
            if old.parent is not None:
                await old.memcg.css.put()
        return 0

    @kernel_name("cgroup_exit")
    async def leave(self, task: Any) -> None:
        """The running task ends: its cgroup has one less."""
        cgroup = task.cgroup
        if cgroup is None:
            return
        async with self.css_set_lock.irqsave():
            cgroup.nr_tasks -= 1
        task.cgroup = None
        await cgroup.memcg.css.put()

    def born_in(self, task: FunctionThread, path: str) -> None:
        """Put a task that does not run yet into the cgroup `path`, which exists; while booting."""
        cgroup = self.paths[path.strip("/")]
        cgroup.nr_tasks += 1
        cgroup.memcg.css.get()
        task.cgroup = cgroup

    async def set_limit(self, path: str, limit: int) -> int:
        """Write `limit` bytes to the file memory.max of a cgroup; 0 or a negative errno."""
        cgroup = await self.look_up(path)
        if cgroup is None:
            return -ENOENT
        await memory_max_write(self, cgroup.memcg, limit // PAGE_SIZE)
        return 0

    def of_task(self, task: Any) -> Cgroup:
        """The cgroup of a task; kernel threads, and tasks that never moved, are in the root."""
        cgroup: Cgroup | None = getattr(task, "cgroup", None)
        return self.root if cgroup is None else cgroup

    def resources(self) -> tuple[Resource, ...]:
        """What those declare who look a cgroup up."""
        return (self._tree,)
