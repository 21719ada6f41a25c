"""Files of a machine whose run is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.kernel.afterwards import NotThereError, UnreadableError, read_afterwards
from slubloom.kernel.files import read_file
from slubloom.kernel.memory import free_structure
from slubloom.kernel.slab.free import kmem_cache_free

from .reading import STATS, some_objects, story

if TYPE_CHECKING:
    from slubloom.kernel import Machine


def test_what_is_read_afterwards_is_what_the_last_task_read() -> None:
    seen: dict[str, str | int] = {}
    names = ("objects", "cpu_slabs", "slabs_cpu_partial", "aliases", "alloc_slab", "min_partial")
    paths = ["/proc/slabinfo", "/proc/buddyinfo", "/proc/zoneinfo", *(f"/sys/kernel/slab/x/{name}" for name in names)]

    async def body(machine: Machine) -> None:
        cache, objects = await some_objects(machine)
        await kmem_cache_free(machine.slab, cache, objects[0])
        for path in paths:
            seen[path] = await read_file(machine, path)

    machine = story(body, STATS)
    assert {path: read_afterwards(machine, path) for path in paths} == seen


def test_reading_afterwards_leaves_no_trace() -> None:
    async def body(machine: Machine) -> None:
        await some_objects(machine)

    machine = story(body)
    records: list[Any] = []
    machine.tracepoints.attach("*", records.append)
    interleaver = machine.interleaver
    before = interleaver.steps, interleaver.now_ns, list(interleaver.tape), dict(machine.counters), interleaver.running
    read_afterwards(machine, "/proc/slabinfo")
    with pytest.raises(NotThereError):
        read_afterwards(machine, "/sys/kernel/slab/nix/objects")
    after = interleaver.steps, interleaver.now_ns, list(interleaver.tape), dict(machine.counters), interleaver.running
    assert before == after
    assert records == []
    assert not machine.slab.slab_mutex.is_locked


def test_a_lock_that_is_still_held_is_named_with_its_holder() -> None:
    async def body(machine: Machine) -> None:
        await some_objects(machine)
        await machine.slab.slab_mutex.lock()
        await machine.slab.names["x"].node[1].list_lock.lock()

    machine = story(body, '\n[kernel]\nsanitizers = ["kasan"]\n')  # lockdep has something against such an end
    with pytest.raises(UnreadableError, match=r"^slab_mutex is held by story/\d+$"):
        read_afterwards(machine, "/proc/slabinfo")
    with pytest.raises(UnreadableError, match=r"^&n->list_lock is held by story/\d+$"):
        read_afterwards(machine, "/sys/kernel/slab/x/objects")
    assert read_afterwards(machine, "/sys/kernel/slab/x/slabs") == "3 N0=3\n"


def test_memory_that_was_freed_meanwhile_is_not_shown_and_no_new_violation() -> None:
    async def body(machine: Machine) -> None:
        cache, _ = await some_objects(machine)
        free_structure(cache.node[0])

    machine = story(body)
    with pytest.raises(
        UnreadableError, match="reading it is a violation: BUG: KASAN: use-after-free in show_slab_objects"
    ):
        read_afterwards(machine, "/sys/kernel/slab/x/slabs")
    assert machine.violations == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/sys/kernel/slab/kmem_cash/objects", "no cache kmem_cash at the end of the run; did you mean kmem_cache or"),
        (
            "/sys/kernel/slab/q/objects",
            "there is no cache q at the end of the run; there are: kmem_cache, kmem_cache_node",
        ),
        ("/sys/kernel/slab/x/alloc_slab", "a cache has no such file unless kernel.slub_stats is on; it has: aliases, "),
        ("/proc/nix", "there is no such file"),
    ],
)
def test_what_is_not_there_afterwards_is_said_with_what_there_is(path: str, said: str) -> None:
    async def body(machine: Machine) -> None:
        await some_objects(machine)

    with pytest.raises(NotThereError) as caught:
        read_afterwards(story(body), path)
    assert said in str(caught.value)
