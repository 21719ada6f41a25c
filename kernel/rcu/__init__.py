"""Read-copy update: readers, callbacks, waiting for grace periods."""

from .api import STALL_TIMEOUT_S as STALL_TIMEOUT_S
from .api import Rcu as Rcu
from .barrier import CpusFree as CpusFree
from .barrier import CpusHeld as CpusHeld
from .head import RcuHead as RcuHead
from .srcu import SrcuStruct as SrcuStruct
from .variants import Flavours as Flavours
