"""Text that stands for numbers: sizes with a suffix, lists of processors as the kernel writes them."""

from __future__ import annotations

import re

CPU_MAX = 8191
NODE_MAX = 1023
"""The largest processor and node numbers accepted, as the kernel's largest configurations (NR_CPUS, MAX_NUMNODES)."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(value: object) -> int:
    """Bytes: an integer, or text such as ``512M`` (K, M, G and T are powers of 1024).

    Raises:
        ValueError: anything else, or less than 0.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        match = re.fullmatch(r"(\d{1,20})\s*([KMGT]?)i?B?", str(value).strip(), re.IGNORECASE)
        if match is None:
            raise ValueError(f"{value!r} is not a size; expected bytes or a number with K, M, G or T, such as 512M")
        size = int(match[1]) * _FACTORS[match[2].upper()]
    if not 0 <= size <= 1 << 52:
        raise ValueError(f"{value!r} is not a size between 0 and 4096T")
    return size


def parse_cpulist(value: object) -> tuple[int, ...]:
    """Processor numbers, increasing: an array of integers, one integer, or a kernel cpulist such as ``0-3,8``.

    Raises:
        ValueError: anything else, a number twice, or one above `CPU_MAX`.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        numbers = [value]
    elif isinstance(value, list | tuple):
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            raise ValueError("an array of processor numbers may hold integers only")
        numbers = list(value)
    elif isinstance(value, str):
        numbers = _parse_ranges(value)
    else:
        raise ValueError(  # noqa: TRY004  # pydantic makes a message of a ValueError only
            f"{value!r} is not a list of processors; expected text such as 0-3,8 or an array of integers"
        )
    for number in numbers:
        if not 0 <= number <= CPU_MAX:
            raise ValueError(f"processor number {number} is not between 0 and {CPU_MAX}")
    if len(dict.fromkeys(numbers)) != len(numbers):
        raise ValueError("a processor number stands there twice")
    return tuple(sorted(numbers))


def parse_duration(text: str) -> float:
    """Seconds: a number with ms, s, m or h behind it, such as ``60s``; a bare number is seconds.

    Raises:
        ValueError: anything else, or nothing at all.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h)?", text.strip())
    seconds = float(match[1]) * _SECONDS[match[2] or "s"] if match is not None else 0.0
    if seconds <= 0:
        raise ValueError(f"{text!r} is not a time; expected a number with ms, s, m or h, such as 60s")
    return seconds


def _parse_ranges(text: str) -> list[int]:
    numbers: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part)
        if match is None:
            raise ValueError(f"{part!r} is not a processor or a range; expected something like 0-3,8")
        first = int(match[1])
        last = int(match[2] or first)
        if last > CPU_MAX or first > CPU_MAX:
            raise ValueError(f"processor number {max(first, last)} is not between 0 and {CPU_MAX}")
        if last < first:
            raise ValueError(f"the range {part} runs backwards")
        numbers.extend(range(first, last + 1))
    return numbers


def render_cpulist(numbers: tuple[int, ...]) -> str:
    """The kernel's way to write a list of processors."""
    parts: list[str] = []
    start = previous = None
    for number in (*numbers, None):
        if previous is not None and number == previous + 1:
            previous = number
            continue
        if start is not None:
            parts.append(str(start) if start == previous else f"{start}-{previous}")
        start = previous = number
    return ",".join(parts)
