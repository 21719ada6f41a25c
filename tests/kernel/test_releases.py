"""What stands at the seams of a kernel is shared by all machines that run it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import pytest
from slubloom.kernel import HISTORY
from slubloom.kernel.releases import NEWEST, OLDEST, checkout

if TYPE_CHECKING:
    from pathlib import Path

FIRSTS = {patch.release for patch in HISTORY if patch.release is not None}
RELEASES = [f"v{major}.{minor}" for major, minor in sorted({OLDEST, NEWEST, *FIRSTS})]
PATCH = """
from dataclasses import replace

def apply(kernel):
    return replace(kernel, memcg_creation_queue="QUEUE")
"""


def has_state(variant: Any) -> bool:
    """Whether it could remember something of a machine: classes and functions make a new one for each."""
    if isinstance(variant, str | type) or (is_dataclass(variant) and variant.__dataclass_params__.frozen):
        return False
    return bool(getattr(variant, "__dict__", None)) or any(
        hasattr(variant, slot) for kind in type(variant).__mro__ for slot in getattr(kind, "__slots__", ())
    )


@pytest.mark.parametrize("release", RELEASES)
def test_a_variant_that_machines_share_has_no_state(release: str) -> None:
    kernel = checkout(release)
    for field in fields(kernel):
        assert not has_state(getattr(kernel, field.name)), field.name


def test_a_release_is_checked_out_once_and_with_another_patch_anew() -> None:
    assert checkout("v5.11") is checkout("5.11.7")
    assert checkout("v5.11", revert=["slab-get-online-mems"]) is not checkout("v5.11")
    patched = checkout("v5.11", apply=["keep-cache-nodes"])
    assert patched is checkout("v5.11", apply=["666716fd267d"])
    assert patched.node_lifetime is not checkout("v5.11").node_lifetime


def test_a_patch_file_is_read_at_each_checkout(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PATCH.replace("QUEUE", "first"))
    assert checkout("v5.11", ["./mine.py"], folder=tmp_path).memcg_creation_queue == "first"
    path.write_text(PATCH.replace("QUEUE", "another"))
    assert checkout("v5.11", ["./mine.py"], folder=tmp_path).memcg_creation_queue == "another"
    assert checkout("v5.11").memcg_creation_queue not in ("first", "another")
