"""Files of the emulated /proc and /sys as they are at the end of a run: ``--proc`` and ``--proc-out``.

Reading them is no part of the run: it changes neither what happens nor the trace (kernel/afterwards.py).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .kernel.afterwards import NotThereError, UnreadableError, read_afterwards, slab_paths
from .kernel.files import FILES, SLAB_FILES
from .kernel.slab.sysfs import links
from .kernel.slab.sysfs_directory import SLAB_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .kernel import Machine

SLAB_NAME = "slab/CACHE/FILE"
TREE = ("/proc/buddyinfo", "/proc/slabinfo", "/proc/zoneinfo")
"""What a folder gets beside the files of all caches."""


class FileNameError(Exception):
    """A name is none of a file there can be, or a folder cannot be written; the message says what was expected."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class EndFiles:
    """What was read: texts by path, and why others could not be; `missing` are those that do not exist."""

    texts: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def path_of(name: str) -> str:
    """The path that a short name stands for: ``slabinfo``, ``slab/dentry/partial``, or the path itself.

    Raises:
        FileNameError: no machine has such a file.
    """
    bare = name.strip("/")
    path = f"/{bare}"
    for folder in ("/proc", "/sys/kernel"):
        if f"{folder}/{bare}" in FILES or (bare.startswith("slab/") and folder != "/proc"):
            path = f"{folder}/{bare}"
    if path in FILES:
        return path
    if path.startswith(f"{SLAB_FOLDER}/"):
        cache, _, attribute = path.removeprefix(f"{SLAB_FOLDER}/").partition("/")
        if cache and attribute in SLAB_FILES:
            return path
        close = difflib.get_close_matches(attribute, SLAB_FILES, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise FileNameError(f"{name}: no cache has a file {attribute!r}; {hint}there are: {', '.join(SLAB_FILES)}")
    short = [known.removeprefix("/proc/") for known in FILES]
    raise FileNameError(f"{name}: there is no such file; there are: {', '.join(short)}, {SLAB_NAME}")


def read_end_files(machine: Machine, paths: Iterable[str]) -> EndFiles:
    """Read files of a machine whose run is over."""
    files = EndFiles()
    for path in paths:
        try:
            files.texts[path] = read_afterwards(machine, path)
        except NotThereError as error:
            files.missing[path] = str(error)
        except UnreadableError as error:
            files.unreadable[path] = str(error)
    return files


def check_folder(folder: str) -> None:
    """See to it that files can be written into `folder`, which is made if it is not there.

    Raises:
        FileNameError: it is no folder, has something in it already, or cannot be made.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        something = next(path.iterdir(), None)
    except OSError as error:
        raise FileNameError(f"{folder}: {error.strerror}; expected a folder to write files into") from None
    if something is not None:
        raise FileNameError(f"{folder}: is not empty (there is {something.name}); expected an empty folder, or none")


def write_tree(machine: Machine, folder: str) -> EndFiles:
    """Write `TREE` and the files and links of all caches into `folder`, under their paths.

    Raises:
        FileNameError: it cannot be written.
    """
    files = read_end_files(machine, [*TREE, *slab_paths(machine)])
    root = Path(folder)
    try:
        for path, text in files.texts.items():
            target = _inside(root, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        for name, directory in links(machine.slab).items():
            link = _inside(root, f"{SLAB_FOLDER}/{name}")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(directory, target_is_directory=True)
    except OSError as error:
        raise FileNameError(f"{error.filename or folder}: {error.strerror}") from None
    return files


def _inside(root: Path, path: str) -> Path:
    """Where `path` goes; a cache may be called like a way out of the folder."""
    parts = path.strip("/").split("/")
    if any(part in (".", "..") for part in parts):
        raise FileNameError(f"{path}: cannot be written; a cache has a name that is none of a folder")
    return root.joinpath(*parts)
