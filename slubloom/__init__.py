"""slubloom: the concurrent part of the Linux memory manager as a society of actors.

Importing this package imports nothing else; see `slubloom.run` for running a scenario, and the rooms `slubloom.actors`,
`slubloom.kernel`, `slubloom.topology` and `slubloom.traces`.
"""

__version__ = "0.1.0"
