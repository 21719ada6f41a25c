"""What the actors run: the kernel under test, its releases, its sanitizers, and booting it."""

from .boot import Booted as Booted
from .boot import BootError as BootError
from .boot import boot as boot
from .machine import Machine as Machine
from .releases import HISTORY as HISTORY
from .releases import Kernel as Kernel
from .releases import Patch as Patch
from .releases import ReleaseError as ReleaseError
from .violation import Violation as Violation
