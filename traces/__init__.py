"""What happened: tracepoints and probes, the msgpack stream, its readers, and the operator's log.

This room imports no other room and no event loop: everything here is plain synchronous code, driven from outside.
"""

from .address import Address as Address
from .address import parse_address as parse_address
from .blocks import Damage as Damage
from .catalogue import CATALOGUE as CATALOGUE
from .catalogue import parse_events as parse_events
from .errors import TraceError as TraceError
from .event import EventSpec as EventSpec
from .event import Probe as Probe
from .event import Record as Record
from .event import is_pointer as is_pointer
from .event import is_text as is_text
from .logs import LogMode as LogMode
from .logs import make_logger as make_logger
from .reader import IndexEntry as IndexEntry
from .reader import TraceChunk as TraceChunk
from .reader import TraceReader as TraceReader
from .sink import OnSlow as OnSlow
from .sink import Sink as Sink
from .sink import SinkStatistics as SinkStatistics
from .sinks import open_sink as open_sink
from .statistics import TraceStatistics as TraceStatistics
from .statistics import collect_statistics as collect_statistics
from .stream import CHUNK_EVENTS as CHUNK_EVENTS
from .stream import StreamStatistics as StreamStatistics
from .stream import StreamWriter as StreamWriter
from .text import json_formatter as json_formatter
from .text import line_formatter as line_formatter
from .text import printable as printable
from .tracepoint import Context as Context
from .tracepoint import Fire as Fire
from .tracepoint import Scene as Scene
from .tracepoint import Tracepoint as Tracepoint
from .tracepoint import Tracepoints as Tracepoints
