"""The operator's log: boot, caches, hotplug, reclaim, splats.  Never per event; that is what the stream is for.

Each line says when in virtual time, on which CPU, in which thread, and in which chunk of the trace to look; nothing of
the outside world is in it, so the same run writes the same bytes.  Loggers are built explicitly and share no
configuration: two machines in one process log to two places.
"""

from collections.abc import Callable
from typing import Any, Literal, TextIO, cast, get_args

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from .errors import TraceError
from .tracepoint import Scene

LogMode = Literal["console", "json", "off", "auto"]

_INFO = 20
_CRITICAL = 50
_NS_PER_S = 1_000_000_000


def make_logger(
    mode: LogMode, stream: TextIO, scene: Scene, chunk_number: Callable[[], int] = lambda: 0
) -> FilteringBoundLogger:
    """Return a logger that writes lines to `stream`: like dmesg (`console`), JSON objects (`json`), or not at all.

    `auto` is `console` on a terminal and `json` otherwise.  Values should be plain data; others are written with
    `str`, which must not depend on where an object lies in memory.  Methods are synchronous; debug is filtered out.

    Raises:
        TraceError: `mode` is none of these.
    """
    if mode not in get_args(LogMode):
        raise TraceError(f"log mode is {mode!r}, expected console, json, off or auto")
    if mode == "auto":
        mode = "console" if stream.isatty() else "json"
    rendering: list[Processor] = [structlog.processors.add_log_level, _SceneAdder(scene, chunk_number)]
    rendering.append(render_console if mode == "console" else render_json)
    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[_drop] if mode == "off" else rendering,
        wrapper_class=structlog.make_filtering_bound_logger(_CRITICAL if mode == "off" else _INFO),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return cast(FilteringBoundLogger, logger.bind())


def _drop(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    raise structlog.DropEvent


class _SceneAdder:
    """The processor that says who and when."""

    def __init__(self, scene: Scene, chunk_number: Callable[[], int]) -> None:
        self._scene = scene
        self._chunk_number = chunk_number

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        running = self._scene.running
        event["time_ns"] = self._scene.now_ns
        event["cpu"] = running.cpu_id
        event["comm"] = running.comm
        event["pid"] = running.pid
        event["chunk"] = self._chunk_number()
        return event


def render_console(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """Render like dmesg, to the nanosecond: `[    0.000123456] cpu2 creator/104: message key=value chunk=3`.

    Every line of a report gets the prefix; the keys follow its first line.  A part of the machine that belongs to no
    CPU has only its name there.
    """
    seconds, ns = divmod(event.pop("time_ns"), _NS_PER_S)
    cpu, comm, pid = event.pop("cpu"), event.pop("comm"), event.pop("pid")
    who = f"cpu{cpu} {comm}/{pid}" if cpu >= 0 else comm
    prefix = f"[{seconds:>5}.{ns:09d}] {who}: "
    del event["level"]
    first, *others = str(event.pop("event")).splitlines() or [""]
    chunk = event.pop("chunk")
    pairs = [f"{key}={_console_value(value)}" for key, value in event.items()]
    return "\n".join(prefix + line for line in [" ".join([first, *pairs, f"chunk={chunk}"]), *others])


def render_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """Render as one JSON object: time_ns, cpu, comm, pid, chunk, level, event, then the caller's keys."""
    keys = ("time_ns", "cpu", "comm", "pid", "chunk", "level", "event")
    ordered: dict[str, Any] = {key: event.pop(key) for key in keys}
    ordered.update(event)
    return _encode_json(ordered).decode()


_encode_json = msgspec.json.Encoder(enc_hook=str).encode


def _console_value(value: object) -> str:
    text = str(value)
    return repr(text) if not text or " " in text or not text.isprintable() else text
