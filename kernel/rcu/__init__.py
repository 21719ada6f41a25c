"""Read-copy update: readers, callbacks, waiting for grace periods."""

from .api import Rcu as Rcu
from .api import RcuHead as RcuHead
