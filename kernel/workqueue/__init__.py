"""Workqueues: queueing, flushing, cancelling work items, and what happens to them when processors come and go."""

from .api import Workqueues as Workqueues
from .queue import Workqueue as Workqueue
