"""What to run: the topology file format, its checks, importers of real machines, and the shipped scenarios.

Imports no other room.
"""

from .errors import Problem as Problem
from .errors import TopologyError as TopologyError
from .gallery import gallery_names as gallery_names
from .gallery import gallery_path as gallery_path
from .hwloc import import_hwloc as import_hwloc
from .load import from_document as from_document
from .load import load as load
from .load import loads as loads
from .machine import Machine as Machine
from .render import to_toml as to_toml
from .scenario import Scenario as Scenario
from .schema import json_schema as json_schema
