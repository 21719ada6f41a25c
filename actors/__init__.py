"""Who runs: the interleaver, messages, processors, nodes, grace periods, work pools and notifiers.

This room knows hardware and engines but no Linux subsystem: they run the handlers which the kernel room registers.
It imports only the traces room, and it is the only room (beside the front door) that imports trio.
"""

from .actor import Actor as Actor
from .actor import Death as Death
from .actor import Unwind as Unwind
from .bare import BareInterleaver as BareInterleaver
from .clock import Clock as Clock
from .cpu import COND_RESCHED as COND_RESCHED
from .cpu import Cpu as Cpu
from .fingerprint import Fingerprint as Fingerprint
from .gate import Gate as Gate
from .grace_period import GracePeriod as GracePeriod
from .interleaver import Interleaver as Interleaver
from .interleaver import Outcome as Outcome
from .interleaver import RunLimits as RunLimits
from .mailbox import Mailbox as Mailbox
from .mailbox import Message as Message
from .numa import NumaNode as NumaNode
from .operation import Op as Op
from .operation import OpKind as OpKind
from .profile import Profile as Profile
from .resource import Access as Access
from .resource import Resource as Resource
from .thread import KernelThread as KernelThread
from .worker_pool import WorkerPool as WorkerPool
