"""Exploration: the search for the schedule that breaks something, and for the shortest way to tell it.

What is explored is a `Subject`: anything that can put its actors on an interleaver and say afterwards what was found.
A topology file is one, an async test another.  `execute` runs one schedule of it, `Campaign` many, `minimise` finds the
smallest schedule that still fails, `explain` tells it.
"""

from .subject import Executed as Executed
from .subject import Pilot as Pilot
from .subject import ScenarioSubject as ScenarioSubject
from .subject import Schedule as Schedule
from .subject import Subject as Subject
from .subject import execute as execute
from .subject import signature as signature
