"""The emulator against recordings of real kernels: the same requests, and does the same come out?

A recording is a file of JSON lines, plain or compressed with xz.  Its first line describes the machine, the kernel's
command line and the kind of what follows: single caches (``geom``), merging (``merge``), the caches a system has
(``dump``), sequences of operations (``seq``).  `vectors` reads and checks, `machine` builds what the header describes,
one module a kind replays, `report` says what came of it.
"""

from .check import check_file as check_file
from .report import FileReport as FileReport
from .report import Mismatch as Mismatch
from .vectors import VectorError as VectorError
