"""Releases and patches: which variant of each protocol the kernel under test has.

The one place where a release is looked at.  A *seam* is a field of `Kernel`; a patch is a function that replaces
values at seams; a release is the ancestor of all with every patch up to it applied, in the order of history.  `apply`
and `revert` of a topology file add and leave out patches by id, commit or title; ``./file.py`` is a patch of the
user's own: a module with ``apply(kernel: Kernel) -> Kernel``.
"""

from __future__ import annotations

import importlib.util
import re
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .history import ANCESTOR, HISTORY
from .seams import Kernel, Patch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "HISTORY",
    "NEWEST",
    "OLDEST",
    "Kernel",
    "Patch",
    "ReleaseError",
    "checkout",
    "has_patch",
    "parse_release",
]

OLDEST = (3, 10)
NEWEST = (6, 12)
"""Releases outside are refused: their SLUB is not this one."""


class ReleaseError(Exception):
    """An unknown release or patch; the message says which and what there is."""

    exit_status = 2


def parse_release(text: str) -> tuple[int, int]:
    """``v5.12`` or ``5.12.3`` as (5, 12).

    Raises:
        ReleaseError: not a release this emulator knows.
    """
    match = re.fullmatch(r"v?(\d+)\.(\d+)(?:[.-].*)?", text)
    if match is None:
        raise ReleaseError(f"kernel.release: {text!r} is not a release; expected something like v5.12")
    release = (int(match[1]), int(match[2]))
    if not OLDEST <= release <= NEWEST:
        raise ReleaseError(
            f"kernel.release: {text} is outside of what is emulated: "
            f"v{OLDEST[0]}.{OLDEST[1]} to v{NEWEST[0]}.{NEWEST[1]}"
        )
    return release


def checkout(
    release: str, apply: Sequence[str] = (), revert: Sequence[str] = (), *, folder: Path | None = None
) -> Kernel:
    """The tree of `release`, with the patches of `apply` on top and without those of `revert`.

    `folder` is where relative paths of patch files start.

    Raises:
        ReleaseError: an unknown release or patch, or a patch file that is none.
    """
    wanted = parse_release(release)
    left_out = [_find(name) for name in revert]
    added = [_from_file(name, folder) if name.endswith(".py") else _find(name) for name in apply]
    of_history = tuple(takewhile(HISTORY.__contains__, added))
    kernel = _of_history(wanted, tuple(left_out), of_history)
    for patch in added[len(of_history) :]:
        kernel = patch.apply(kernel)
    return kernel


def has_patch(release: str, apply: Sequence[str], revert: Sequence[str], name: str) -> bool:
    """Whether the tree that `checkout` makes has the patch `name`: an id, commit or title, or a file's name.

    Raises:
        ReleaseError: an unknown release or patch.
    """
    if name.endswith(".py"):
        return name in apply
    patch = _find(name)
    if patch in [_find(other) for other in apply if not other.endswith(".py")]:
        return True
    return (
        patch.release is not None
        and patch.release <= parse_release(release)
        and patch not in [_find(other) for other in revert]
    )


@lru_cache(maxsize=64)
def _of_history(wanted: tuple[int, int], left_out: tuple[Patch, ...], added: tuple[Patch, ...]) -> Kernel:
    """The tree of a release as far as it is made of history.

    A search boots the same one again and again.  What stands at the seams has no state, or is made for each machine.
    """
    kernel = ANCESTOR
    for patch in HISTORY:
        if patch.release is not None and patch.release <= wanted and patch not in left_out:
            kernel = patch.apply(kernel)
    for patch in added:
        kernel = patch.apply(kernel)
    return kernel


def _find(name: str) -> Patch:
    for patch in HISTORY:
        if name in (patch.name, patch.title) or (len(name) >= 7 and patch.commit.startswith(name[:12])):  # noqa: PLR2004
            return patch
    known = ", ".join(f"{patch.name} ({patch.commit})" for patch in HISTORY)
    raise ReleaseError(f"kernel.apply/revert: there is no patch {name!r}; there are: {known}")


def _from_file(name: str, folder: Path | None) -> Patch:
    path = (folder or Path()) / name
    spec = importlib.util.spec_from_file_location(f"slubloom_patch_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ReleaseError(f"kernel.apply: there is no patch file {path}")
    module: Any = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function = module.apply
    except AttributeError:
        raise ReleaseError(f"kernel.apply: {path} has no function apply(kernel)") from None
    except Exception as error:
        raise ReleaseError(f"kernel.apply: {path} cannot be loaded: {type(error).__name__}: {error}") from error
    return Patch(path.stem, "", None, f"patch file {name}", function)
