"""SLUB debugging: the kernel's own tests of it, and its reports to the byte."""

from __future__ import annotations

from .debugging import DESTROY, VALIDATE, alloc, free, plain, run_program, write

# --- KUnit's cases (lib/slub_kunit.c), with the errors it expects


def test_kunit_clobber_zone() -> None:
    ran = run_program("Z", alloc(), write(64, "12"), VALIDATE)
    assert ran.errors == 2
    assert run_program("Z", alloc(), write(64, "12"), VALIDATE, free(), DESTROY).errors == 2


def test_kunit_next_pointer() -> None:
    first = run_program("P", alloc())
    next_free = first.address() + 72  # 64 bytes, and the free pointer behind them
    corrupt = (alloc(), free(keep=True), write(64, "12"), VALIDATE)
    # The broken chain, the count of objects in use, and the fix of that.
    assert run_program("P", *corrupt).errors == 3
    # The pointer is repaired by hand: the count is wrong again.
    repaired = (*corrupt, write(64, next_free.to_bytes(8, "little").hex()), VALIDATE)
    assert run_program("P", *repaired).errors == 3 + 2
    assert run_program("P", *repaired, VALIDATE).errors == 3 + 2
    assert run_program("P", *repaired, VALIDATE, DESTROY).errors == 3 + 2


def test_kunit_first_word() -> None:
    assert run_program("P", alloc(), free(keep=True), write(0, "78"), VALIDATE).errors == 2


def test_kunit_clobber_50th_byte() -> None:
    assert run_program("P", alloc(), free(keep=True), write(50, "9a"), VALIDATE, DESTROY).errors == 2


def test_kunit_clobber_redzone_free() -> None:
    assert run_program("Z", alloc(), free(keep=True), write(64, "ab"), VALIDATE, DESTROY).errors == 2


# --- reports, to the byte


def poison(at: int) -> str:
    """The rows of a poisoned object of 64 bytes."""
    row = "6b " * 15
    rows = [f"Object   {at + offset:016x}: {row}6b  kkkkkkkkkkkkkkkk\n" for offset in (0, 16, 32)]
    return "".join(rows) + f"Object   {at + 48:016x}: {row}a5  kkkkkkkkkkkkkkk.\n"


def eight(label: str, at: int, data: str, text: str) -> str:
    """A row of eight bytes: 26 columns stay empty before the text."""
    return f"{label}{at:016x}: {data}{' ' * 26}{text}\n"


def slab_line(page: int, used: int, fp: int, objects: int = 25) -> str:
    """Memory of node 0 of a small machine is in ZONE_DMA32, from 16 MiB on: zone 1 at bit 51."""
    struct_page = 0xFFFFEA0000000000 + ((page - 0xFFFF888000000000) >> 12) * 64
    zone = 0 if page - 0xFFFF888000000000 < 1 << 24 else 1
    flags = 0x7FFFFC0000200 | zone << 51
    return (
        f"Slab 0x{struct_page:016x} objects={objects} used={used} fp=0x{fp:016x} "
        f"flags=0x{flags:x}(slab|node=0|zone={zone}|lastcpupid=0x1fffff)\n"
    )


def head(reason: str, taint: str = "Not tainted") -> str:
    return f"{'=' * 77}\nBUG t ({taint}): {reason}\n{'-' * 77}\n\n"


def trace(*functions: str, pid: int = 2) -> str:
    lines = "".join(f" {function}\n" for function in functions)
    return (
        f"CPU: 0 PID: {pid} Comm: user Not tainted 6.1-slubloom #1\nHardware name: slubloom emulated machine\n"
        f"Call Trace:\n <TASK>\n dump_stack_lvl\n{lines} </TASK>\n"
    )


def test_report_of_an_object_that_is_already_free() -> None:
    # FZPU: left zone 8, object 64, right zone 8, pointer 8, tracks 64, padding 8: 160 bytes, 25 of them in a page.
    ran = run_program("FZPU", alloc(2), free(1, keep=True), free(1, keep=True))
    p = ran.address()
    assert ran.kinds == ["double-free"]
    assert ran.titles == ["BUG t: Object already free"]
    assert plain(ran.violations[0].report) == (
        head("Object already free")
        + "Allocated in user mode age=0 cpu=0 pid=2\n kmem_cache_alloc\n"
        + "Freed in user mode age=0 cpu=0 pid=2\n kmem_cache_free\n"
        + slab_line(p - 8, 1, p)
        + f"Object 0x{p:016x} @offset=8 fp=0x0000000000000000\n\n"
        + eight("Redzone  ", p - 8, "bb bb bb bb bb bb bb bb", "........")
        + poison(p)
        + eight("Redzone  ", p + 64, "bb bb bb bb bb bb bb bb", "........")
        + eight("Padding  ", p + 144, "5a 5a 5a 5a 5a 5a 5a 5a", "ZZZZZZZZ")
        + trace("object_err", "free_consistency_checks", "free_debug_processing", "__slab_free", "kmem_cache_free")
    )
    assert ran.fixes == [f"FIX t: Object at 0x{p:016x} not freed"]


def test_report_of_a_right_red_zone_that_was_overwritten() -> None:
    ran = run_program("FZ", alloc(), write(64, "abad"), free(keep=True))
    p = ran.address()
    assert ran.kinds == ["invariant"]
    # FZ: 8 + 64 + 8 + 8: 88 bytes, 46 in a page; the free pointer is in the middle of the object.
    restoring = f"FIX t: Restoring Right Redzone 0x{p + 64:016x}-0x{p + 65:016x}=0xcc"
    zeros = "00 " * 15
    assert plain(ran.violations[0].report) == (
        head("Right Redzone overwritten")
        + f"0x{p + 64:016x}-0x{p + 65:016x} @offset=72. First byte 0xab instead of 0xcc\n"
        + slab_line(p - 8, 1, p + 88, objects=46)
        + f"Object 0x{p:016x} @offset=8 fp=0x0000000000000000\n\n"
        + eight("Redzone  ", p - 8, "cc cc cc cc cc cc cc cc", "........")
        + "".join(f"Object   {p + 16 * row:016x}: {zeros}00  ................\n" for row in range(4))
        + eight("Redzone  ", p + 64, "ab ad cc cc cc cc cc cc", "........")
        + eight("Padding  ", p + 72, "00 00 00 00 00 00 00 00", "........")
        + trace(
            "check_bytes_and_report",
            "check_object",
            "free_consistency_checks",
            "free_debug_processing",
            "__slab_free",
            "kmem_cache_free",
        )
        + restoring
        + "\n"
    )
    assert ran.fixes == [restoring, f"FIX t: Object at 0x{p:016x} not freed"]


def test_report_of_poison_that_was_overwritten() -> None:
    ran = run_program("FP", alloc(2), free(1, keep=True), write(16, "41"), alloc(), stop=True)
    p = ran.address()
    assert ran.kinds == ["use-after-free"]
    assert plain(ran.violations[0].report) == (
        # FP: 64 + 8: 72 bytes, 56 in a page; what is before the first object is not of this slab.
        head("Poison overwritten")
        + f"0x{p + 16:016x}-0x{p + 16:016x} @offset=16. First byte 0x41 instead of 0x6b\n"
        + slab_line(p, 2, p + 144, objects=56)
        + f"Object 0x{p:016x} @offset=0 fp=0x{p + 144:016x}\n\n"
        + poison(p)
        .replace(f"{p + 16:016x}: 6b", f"{p + 16:016x}: 41")
        .replace("kkkkkkkkkkkkkkkk\n" + f"Object   {p + 32:016x}", "Akkkkkkkkkkkkkkk\n" + f"Object   {p + 32:016x}")
        + trace(
            "check_bytes_and_report",
            "check_object",
            "alloc_debug_processing",
            "get_partial_node",
            "get_partial",
            "___slab_alloc",
            "kmem_cache_alloc",
        )
        + f"FIX t: Restoring Poison 0x{p + 16:016x}-0x{p + 16:016x}=0x6b\n"
    )


def test_report_of_a_free_pointer_that_is_corrupt() -> None:
    ran = run_program("F", alloc(2), free(1, keep=True), write(32, "ff"), alloc())
    p = ran.address()
    assert ran.titles[0] == "BUG t: Freepointer corrupt"
    wild = (p + 128) | 0xFF
    low = wild.to_bytes(8, "little").hex(" ")
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in wild.to_bytes(8, "little"))
    zeros = "00 " * 15
    first = f"Object   {p:016x}: {zeros}00  ................\nObject   {p + 16:016x}: {zeros}00  ................\n"
    assert plain(ran.violations[0].report) == (
        head("Freepointer corrupt")
        + slab_line(p, 2, wild, objects=64)
        + f"Object 0x{p:016x} @offset=0 fp=0x{wild:016x}\n\n"
        + first
        + f"Object   {p + 32:016x}: {low} {'00 ' * 7}00  {text}........\n"
        + f"Object   {p + 48:016x}: {zeros}00  ................\n"
        + trace(
            "object_err",
            "check_object",
            "alloc_debug_processing",
            "get_partial_node",
            "get_partial",
            "___slab_alloc",
            "kmem_cache_alloc",
        )
    )
    assert ran.fixes == ["FIX t: Marking all objects used"]
    assert ran.address(2) >> 12 != p >> 12  # the slab is not used again


def test_a_report_is_the_same_in_every_run() -> None:
    reports = [run_program("FZPU", alloc(2), free(1, keep=True), free()).violations[0].report for _ in range(2)]
    assert reports[0] == reports[1]
