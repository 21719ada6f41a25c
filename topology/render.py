"""Writing a machine as the ``[machine]`` part of a topology file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .units import render_cpulist

if TYPE_CHECKING:
    from .machine import Machine


def to_toml(machine: Machine) -> str:
    """TOML text that loads back to the same machine."""
    lines = ["[machine]", f"memory_block = {machine.memory_block}"]
    if machine.offline_cpus:
        lines.append(f'offline_cpus = "{render_cpulist(machine.offline_cpus)}"')
    if machine.offline_nodes:
        lines.append(f"offline_nodes = {list(machine.offline_nodes)}")
    if machine.distances:
        lines.append("distances = [")
        lines += [f"    [{', '.join(f'{value:3}' for value in row)}]," for row in machine.distances]
        lines.append("]")
    for node in machine.nodes:
        lines += [
            "",
            "[[machine.node]]",
            f"id = {node.id}",
            f'cpus = "{render_cpulist(node.cpus)}"',
            f"memory = {node.memory_bytes}  # {node.memory_bytes / (1 << 20):,.0f} MiB",
        ]
    return "\n".join(lines) + "\n"
