"""The scenarios that come with slubloom."""

from __future__ import annotations

from pathlib import Path

from .errors import Problem, TopologyError

FOLDER = Path(__file__).parent / "gallery"


def gallery_names() -> list[str]:
    """The names of the shipped scenarios, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def gallery_path(name: str) -> Path:
    """The file of a shipped scenario, named with or without folder and ending.

    Raises:
        TopologyError: there is none of that name.
    """
    path = FOLDER / f"{Path(name).name.removesuffix('.toml')}.toml"
    if not path.is_file():
        raise TopologyError(name, [Problem("", f"there is no such scenario; there are: {', '.join(gallery_names())}")])
    return path
