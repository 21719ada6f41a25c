"""The JSON Schema of the topology format, for editors."""

from __future__ import annotations

from typing import Any

from .scenario import Scenario


def json_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) that a topology file, read as TOML, must satisfy."""
    schema = Scenario.model_json_schema(by_alias=True)
    schema["properties"].pop("source", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "slubloom topology",
        "description": "A whole experiment: a machine, a kernel, a workload, and what is expected of them.",
    }
