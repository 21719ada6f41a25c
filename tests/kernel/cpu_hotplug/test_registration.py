"""Registering callbacks, instances of states, and the files of processors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from slubloom.actors import BareInterleaver, Outcome
from slubloom.actors.strategies import RandomWalk
from slubloom.kernel import boot
from slubloom.kernel.cpu_hotplug import CpuhpState
from slubloom.kernel.cpu_hotplug.smpboot import HotplugThread
from slubloom.kernel.cpu_hotplug.sysfs import read_cpu_file, write_cpu_file
from slubloom.kernel.files import read_file, write_file
from slubloom.topology import TopologyError, gallery_path, load, loads

from .machines import NODES, STEP, finish, machine_of, online, run, start

if TYPE_CHECKING:
    from slubloom.kernel import Machine

EBUSY, EINVAL, ENOSPC, EAGAIN, ENOENT, EACCES, EISDIR = -16, -22, -28, -11, -2, -13, -21
FOLDER = "/sys/devices/system/cpu"


def noting(machine: Machine, log: list[tuple[str, int, int]], name: str, fails: int = -1) -> Any:
    async def callback(cpu: int) -> int:
        log.append((name, cpu, machine.smp_processor_id()))
        return -5 if cpu == fails else 0

    return callback


def test_registering_starts_the_processors_that_are_online_each_on_itself() -> None:
    machine = machine_of(NODES.replace("[machine]", "[machine]\noffline_cpus = [2]"))
    log: list[tuple[str, int, int]] = []

    async def body() -> None:
        hotplug = machine.cpu_hotplug
        up, down = noting(machine, log, "up"), noting(machine, log, "down")
        state = await hotplug.setup_state(CpuhpState.AP_ONLINE_DYN, "driver:online", up, down)
        assert state == CpuhpState.AP_ONLINE_DYN + 1  # the first is mm/vmstat's
        assert log == [("up", 0, 0), ("up", 1, 1), ("up", 3, 3)]
        log.clear()
        assert await hotplug.cpu_up(2) == 0
        assert log == [("up", 2, 2)]
        log.clear()
        await hotplug.remove_state(state)
        assert log == [("down", 0, 0), ("down", 1, 1), ("down", 2, 2), ("down", 3, 3)]
        assert await hotplug.cpu_down(2) == 0
        assert len(log) == 4

    finish(machine, body)


def test_states_of_the_prepare_section_are_called_by_who_registers_them() -> None:
    machine = machine_of()
    log: list[tuple[str, int, int]] = []

    async def body() -> None:
        setup = machine.cpu_hotplug.setup_state
        assert await setup(CpuhpState.RELAY_PREPARE, "relay:prepare", noting(machine, log, "up")) == 0
        assert log == [("up", cpu, 1) for cpu in range(4)]
        assert await setup(CpuhpState.RELAY_PREPARE, "relay:again", noting(machine, log, "up")) == EBUSY
        assert await setup(CpuhpState.ONLINE, "none", noting(machine, log, "up")) == EINVAL
        assert await setup(CpuhpState.RADIX_DEAD, "") == EINVAL

    finish(machine, body, cpu=1)


def test_a_startup_that_fails_tears_down_those_before_and_registers_nothing() -> None:
    machine = machine_of()
    log: list[tuple[str, int, int]] = []

    async def body() -> None:
        hotplug = machine.cpu_hotplug
        up, down = noting(machine, log, "up", fails=2), noting(machine, log, "down")
        assert await hotplug.setup_state(CpuhpState.AP_ONLINE_DYN, "bad", up, down) == -5
        assert log == [("up", 0, 0), ("up", 1, 1), ("up", 2, 2), ("down", 0, 0), ("down", 1, 1)]
        log.clear()
        assert await hotplug.cpu_down(3) == 0
        assert await hotplug.cpu_up(3) == 0
        assert log == []

    finish(machine, body)


def test_dynamic_states_run_out() -> None:
    machine = machine_of()

    async def body() -> None:
        answers = [await machine.cpu_hotplug.setup_state_nocalls(CpuhpState.BP_PREPARE_DYN, f"d{n}") for n in range(22)]
        assert answers == [*range(71, 92), ENOSPC]

    finish(machine, body)


def test_instances_are_called_each_and_those_called_are_undone_when_one_fails() -> None:
    machine = machine_of()
    log: list[tuple[str, str, int]] = []
    bad: list[str] = []

    async def up(cpu: int, instance: object) -> int:
        log.append(("up", str(instance), cpu))
        return -5 if instance in bad else 0

    async def down(cpu: int, instance: object) -> int:
        log.append(("down", str(instance), cpu))
        return -5 if instance in bad else 0

    async def body() -> None:
        hotplug = machine.cpu_hotplug
        state = await hotplug.setup_state_multi(CpuhpState.AP_ONLINE_DYN, "multi", up, down)
        assert await hotplug.add_instance_nocalls(state, "a") == 0
        assert await hotplug.add_instance(state, "b") == 0
        assert log == [("up", "b", cpu) for cpu in range(4)]
        assert await hotplug.add_instance(CpuhpState.AP_ACTIVE, "c") == EINVAL
        log.clear()
        bad.append("a")  # behind b: the one added last is first
        assert await hotplug.cpu_down(3) == -5
        assert log == [("down", "b", 3), ("down", "a", 3), ("up", "b", 3)]
        assert machine.cpus[3].active
        bad.clear()
        log.clear()
        assert await hotplug.cpu_down(3) == 0
        assert await hotplug.cpu_up(3) == 0
        assert log == [(way, name, 3) for way in ("down", "up") for name in ("b", "a")]
        log.clear()
        assert await hotplug.remove_instance(state, "b") == 0
        assert log == [("down", "b", cpu) for cpu in range(4)]
        assert await hotplug.remove_instance(state, "b") == EINVAL

    finish(machine, body)


def test_threads_of_a_subsystem_are_parked_while_their_processor_is_away() -> None:
    for seed in range(20):
        machine = machine_of(NODES.replace("[machine]", "[machine]\noffline_cpus = [3]"), RandomWalk(seed))
        wanted = dict.fromkeys(range(4), 0)
        ran: list[tuple[int, int]] = []

        async def function(cpu: int, machine: Machine = machine, wanted: Any = wanted, ran: Any = ran) -> None:
            wanted[cpu] -= 1
            await STEP
            ran.append((cpu, machine.smp_processor_id()))

        async def body(
            machine: Machine = machine, wanted: Any = wanted, ran: Any = ran, function: Any = function
        ) -> None:
            async def ask(cpu: int) -> None:
                wanted[cpu] += 1
                await plug.threads[cpu].wake_up()

            plug = HotplugThread("watch/%u", lambda cpu: wanted[cpu] > 0, function)
            await machine.cpu_hotplug.smpboot.register(plug)
            assert sorted(plug.threads) == [0, 1, 2]
            assert plug.threads[1].comm == "watch/1"
            assert await machine.cpu_hotplug.cpu_up(3) == 0
            for cpu in range(4):
                await ask(cpu)
            assert await machine.cpu_hotplug.cpu_down(2) == 0
            await ask(2)  # kept until it comes back
            await machine.rcu.synchronize_rcu()
            away = ran.count((2, 2))
            assert await machine.cpu_hotplug.cpu_up(2) == 0
            while ran.count((2, 2)) < 2:
                await STEP
            assert away < 2

        finish(machine, body)
        assert sorted(ran) == [(0, 0), (1, 1), (2, 2), (2, 2), (3, 3)]


# --- files


def test_the_files_of_processors_are_read_and_written() -> None:
    machine = machine_of(NODES.replace("[machine]", "[machine]\noffline_cpus = [1]"))

    async def body() -> None:
        async def read(name: str) -> str | int:
            return await read_file(machine, f"{FOLDER}/{name}")

        async def write(name: str, text: str) -> int:
            return await write_file(machine, f"{FOLDER}/{name}", text)

        assert [await read(name) for name in ("online", "offline", "possible", "present")] == [
            "0,2-3\n",
            "1\n",
            "0-3\n",
            "0-3\n",
        ]
        assert (await read("cpu1/online"), await read("cpu2/online")) == ("0\n", "1\n")
        assert await write("cpu2/online", "0\n") == 0
        assert await write("cpu2/online", "0") == 0  # already
        assert await write("cpu1/online", "1") == 0
        assert await read("online") == "0-1,3\n"
        assert (await write("cpu1/online", "2"), await write("cpu9/online", "1")) == (EINVAL, ENOENT)
        assert (await write("online", "1"), await write("cpu1/hotplug/state", "1")) == (EACCES, EACCES)
        assert (await write("cpu1", "1"), await read("cpu01/online"), await read("cpu1/none")) == (
            EISDIR,
            ENOENT,
            ENOENT,
        )
        assert await read("cpu1") == "hotplug\nonline\n"
        assert (await read("cpu1/hotplug/state"), await read("cpu2/hotplug/state")) == ("236\n", "0\n")

    finish(machine, body)


def test_the_files_of_the_state_machine() -> None:
    machine = machine_of()

    async def body() -> None:
        states = await read_cpu_file(machine, f"{FOLDER}/hotplug/states")
        assert isinstance(states, str)
        assert states.startswith("  0: offline\n 11: slub:dead\n")
        assert "201: mm/vmstat:online\n235: sched:active\n236: online\n" in states
        fail, target = f"{FOLDER}/cpu1/hotplug/fail", f"{FOLDER}/cpu1/hotplug/target"
        # What cannot fail: DYING and DEAD callbacks, states without callbacks, numbers beyond.
        for refused in ("96", "11", "190", "237", "x"):
            assert await write_cpu_file(machine, fail, refused) == EINVAL
        assert await write_cpu_file(machine, fail, "201") == 0
        assert await read_cpu_file(machine, fail) == "201\n"
        assert await write_cpu_file(machine, f"{FOLDER}/cpu1/online", "0") == 0  # nothing to call there downward
        assert await write_cpu_file(machine, f"{FOLDER}/cpu1/online", "1") == EAGAIN
        assert await read_cpu_file(machine, fail) == "-1\n"
        assert await write_cpu_file(machine, f"{FOLDER}/cpu1/online", "1") == 0
        # Half way: the processor is online, and runs nothing but its own threads.
        for refused in ("92", "153", "300", "-2", ""):
            assert await write_cpu_file(machine, target, refused) == EINVAL
        assert await write_cpu_file(machine, target, "198") == EINVAL  # no name
        assert await write_cpu_file(machine, target, "197") == 0
        cpu = machine.cpus[1]
        assert (cpu.online, cpu.active) == (True, False)
        assert await read_cpu_file(machine, target) == "197\n"
        assert await write_cpu_file(machine, target, "236") == 0
        assert cpu.active

    finish(machine, body)


def test_two_writers_do_not_get_in_each_others_way() -> None:
    for seed in range(20):
        machine = machine_of(strategy=RandomWalk(seed))

        def writing(cpu: int, machine: Machine = machine) -> Any:
            async def body() -> None:
                for text in ("0", "1"):
                    assert await write_cpu_file(machine, f"{FOLDER}/cpu{cpu}/online", text) == 0

            return body

        for home, cpu in ((0, 2), (1, 3), (2, 1)):
            start(machine, home, writing(cpu))
        assert run(machine) is Outcome.FINISHED
        assert machine.violations == []
        assert online(machine) == [0, 1, 2, 3]


# --- topology files


def test_events_and_operations_bring_processors_online_and_take_them_offline() -> None:
    text = """
[[event]]
kind = "cpu_offline"
cpu = 3
at_ns = 1000
[[task]]
name = "control"
program = [{op = "cpu_offline", cpu = 1}, {op = "cpu_online", cpu = 1}, {op = "cpu_offline", cpu = 2}]
"""
    machine = machine_of(NODES + text)
    assert run(machine) is Outcome.FINISHED
    assert machine.violations == []
    assert online(machine) == [0, 1]


def test_a_request_that_is_refused_is_said() -> None:
    text = '[machine]\n[[machine.node]]\nid = 0\ncpus = 0\nmemory = "64M"\n'
    machine = machine_of(text + '[[task]]\nname = "t"\nprogram = [{op = "cpu_offline", cpu = 0}]\n')
    assert run(machine) is Outcome.FINISHED
    assert "t: cannot take CPU 0 offline: EBUSY" in machine.console
    assert machine.counters["failed_cpu_hotplug"] == 1


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('[[event]]\nkind = "cpu_offline"\ncpu = 9\n', "event[0].cpu", "there is no CPU 9"),
        ('[[event]]\nkind = "cpu_offline"\n', "event[0]", "expected cpu, and no node"),
        ('[[event]]\nkind = "cpu_online"\ncpu = 1\nnode = 0\n', "event[0]", "expected cpu, and no node"),
        ('[[event]]\nkind = "memory_online"\n', "event[0]", "expected node"),
        (
            '[[task]]\nname = "t"\nprogram = [{op = "cpu_online", cpu = 4}]\n',
            "task[0].program[0].cpu",
            "there is no CPU 4",
        ),
        ('[[cpu_state]]\nname = "empty"\n', "cpu_state[0]", "expected startup or teardown"),
        (
            '[[cpu_state]]\nname = "s"\nteardown = [{op = "lock", lock = "none"}]\n',
            "cpu_state[0].teardown[0].lock",
            "there is no [[lock]]",
        ),
    ],
)
def test_mistakes_in_a_topology_are_told_with_their_place(text: str, place: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        loads(NODES + text)
    assert place in str(caught.value)
    assert message in str(caught.value)


BARRIER = """
[[lock]]
name = "driver_lock"
[[cpu_state]]
name = "driver:online"
teardown = [{op = "lock", lock = "driver_lock"}, {op = "unlock", lock = "driver_lock"}]
[[task]]
name = "exit"
cpu = 0
program = [{op = "lock", lock = "driver_lock"}, {op = "rcu_barrier"}, {op = "unlock", lock = "driver_lock"}]
[[task]]
name = "offline"
cpu = 1
program = [{op = "cpu_offline", cpu = 2}]
"""


@pytest.mark.parametrize(("release", "found"), [("v4.14", True), ("v5.17", True), ("v5.18", False), ("v6.1", False)])
def test_rcu_barrier_under_a_lock_that_a_callback_takes(release: str, found: bool) -> None:
    """Museum M40: lockdep sees it in every schedule; without lockdep some schedules deadlock."""
    for seed in range(6):
        machine = machine_of(NODES + BARRIER, RandomWalk(seed), release=release)
        run(machine)
        assert [violation.kind for violation in machine.violations] == (["lockdep-circular"] if found else [])
    outcomes: dict[Outcome, None] = {}
    for seed in range(40):
        unchecked = NODES + "[kernel]\nsanitizers = []\n" + BARRIER
        machine = machine_of(unchecked, RandomWalk(seed), release=release)
        outcomes[run(machine)] = None
        outcomes.update(dict.fromkeys([Outcome.DEADLOCK] if machine.violations else []))
    assert (Outcome.DEADLOCK in outcomes) is found


@pytest.mark.parametrize("release", ["v4.14", "v5.17", "v5.18", "v6.1"])
def test_the_scenario_of_the_gallery_finds_what_it_expects(release: str) -> None:
    scenario = load(gallery_path("barrier-under-hotplug-lock"), release=release)
    for seed in range(4):
        machine = boot(scenario, BareInterleaver(RandomWalk(seed))).machine
        run(machine)
        found = tuple(violation.kind for violation in machine.violations)
        assert found == scenario.expected(release, lambda _: False)
