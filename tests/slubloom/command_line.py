"""The command line in a process of its own, as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def slubloom(
    *arguments: str, python: Sequence[str] = ("-X", "dev"), cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``slubloom`` to its end; `python` are options of the interpreter."""
    return subprocess.run(
        [sys.executable, *python, "-m", "slubloom", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )
