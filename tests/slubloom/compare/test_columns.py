"""How the kernels to compare are written."""

from __future__ import annotations

import pytest

from slubloom.compare.columns import ColumnError, parse_column


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v5.11", ("v5.11", (), ())),
        ("v5.11+666716fd267d", ("v5.11", ("666716fd267d",), ())),
        ("v5.12-666716fd267d", ("v5.12", (), ("666716fd267d",))),
        ("v5.12-keep-cache-nodes", ("v5.12", (), ("keep-cache-nodes",))),
        ("v5.11+keep-cache-nodes-slab-nodes", ("v5.11", ("keep-cache-nodes",), ("slab-nodes",))),
        ("v5.12-666716f-7e1fa93deff4+slab-nodes", ("v5.12", ("slab-nodes",), ("666716f", "7e1fa93deff4"))),
        ("v6.1+./my-patch.py", ("v6.1", ("./my-patch.py",), ())),
        ("v6.1+./my-patch.py-slab-nodes", ("v6.1", ("./my-patch.py",), ("slab-nodes",))),
        ("v6.1+../a/b.py+./c.py", ("v6.1", ("../a/b.py", "./c.py"), ())),
        ("v6.1+no-such-patch+slab-nodes", ("v6.1", ("no-such-patch", "slab-nodes"), ())),
        (
            "v4.10+slab: remove synchronous rcu_barrier() call in memcg cache release path",
            ("v4.10", ("slab: remove synchronous rcu_barrier() call in memcg cache release path",), ()),
        ),
    ],
)
def test_a_release_and_its_patches(text: str, expected: tuple[str, tuple[str, ...], tuple[str, ...]]) -> None:
    assert parse_column(text) == expected


@pytest.mark.parametrize("text", ["", "+slab-nodes", "v6.1+", "v6.1-", "v6.1++slab-nodes"])
def test_what_is_no_kernel(text: str) -> None:
    with pytest.raises(ColumnError, match="expected a"):
        parse_column(text)
