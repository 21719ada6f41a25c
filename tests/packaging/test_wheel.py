"""``pip install .`` into an empty environment, used from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, "--constraint", str(ROOT / "constraints.txt"), str(ROOT)], check=True, timeout=600)
    return folder


def run(environment: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    program, *arguments = command
    return subprocess.run(
        [str(environment / "bin" / program), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean,
        check=False,
    )


def test_only_slubloom_comes_into_site_packages(environment: Path, tmp_path: Path) -> None:
    code = "import importlib.metadata as m; print(*sorted({f.parts[0] for f in m.files('slubloom')}))"
    brought = run(environment, "python", "-c", code, cwd=tmp_path).stdout.split()
    folders = [name for name in brought if not name.endswith(".dist-info") and name != ".."]
    assert folders == ["slubloom"]
    site = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    assert not [name for name in ("actors", "kernel", "topology", "traces") if (site / name).exists()]


def test_all_rooms_import_and_the_gallery_is_there(environment: Path, tmp_path: Path) -> None:
    code = (
        "import slubloom.actors, slubloom.kernel, slubloom.traces, slubloom.topology as t; "
        "print(*t.gallery_names()); print(t.__file__)"
    )
    result = run(environment, "python", "-c", code, cwd=tmp_path)
    names, file = result.stdout.splitlines()
    assert {"missed-node", "node-offline-uaf"} <= set(names.split())
    assert Path(file).is_relative_to(environment)


def test_the_installed_command_runs_a_scenario_from_another_folder(environment: Path, tmp_path: Path) -> None:
    where = run(
        environment,
        "python",
        "-c",
        "import slubloom.topology as t; print(t.gallery_path('missed-node'))",
        cwd=tmp_path,
    ).stdout.strip()
    result = run(environment, "slubloom", "run", where, "--release", "v5.12", "--log", "off", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "clean: every task finished" in result.stdout
