"""What happened: tracepoints and probes, the msgpack stream, its readers, and the operator's log.

This room imports no other room and no event loop: everything here is plain synchronous code, driven from outside.
"""

from .catalogue import CATALOGUE as CATALOGUE
from .catalogue import parse_events as parse_events
from .errors import TraceError as TraceError
from .event import EventSpec as EventSpec
from .event import Probe as Probe
from .event import Record as Record
from .tracepoint import Context as Context
from .tracepoint import Scene as Scene
from .tracepoint import Tracepoint as Tracepoint
from .tracepoint import Tracepoints as Tracepoints
