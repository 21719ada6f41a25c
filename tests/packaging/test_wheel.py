"""``pip install .`` into an empty environment, used from another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("traces", "topology", "actors", "kernel")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed") / "venv"
    # setuptools builds in the source folder, where what an earlier build left would come into the wheel again.
    source = folder.with_name("source")
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__"))
    venv.create(folder, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--constraint", str(source / "constraints.txt"), str(source)]
    subprocess.run(command, check=True, timeout=600, env=without_python_variables())
    return folder


def without_python_variables() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def run(environment: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    return subprocess.run(
        [str(environment / "bin" / program), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=without_python_variables(),
        check=False,
    )


def test_only_slubloom_comes_into_site_packages(environment: Path, tmp_path: Path) -> None:
    code = "import importlib.metadata as m; print(*sorted({f.parts[0] for f in m.files('slubloom')}))"
    brought = run(environment, "python", "-c", code, cwd=tmp_path).stdout.split()
    folders = [name for name in brought if not name.endswith(".dist-info") and name != ".."]
    assert folders == ["slubloom"]
    site = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    assert not [name for name in ROOMS if (site / name).exists()]


def test_every_source_file_is_installed_and_no_other(environment: Path, tmp_path: Path) -> None:
    code = "import importlib.metadata as m; print(*(f for f in m.files('slubloom') if f.parts[0] == 'slubloom'))"
    installed = {
        name for name in run(environment, "python", "-c", code, cwd=tmp_path).stdout.split() if ".pyc" not in name
    }
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "slubloom").rglob("*.py")} | {"slubloom/py.typed"}
    for room in ROOMS:
        sources |= {f"slubloom/{path.relative_to(ROOT)}" for path in (ROOT / room).rglob("*.py")}
    sources |= {f"slubloom/topology/gallery/{path.name}" for path in (ROOT / "topology" / "gallery").glob("*.toml")}
    assert installed == sources


def test_the_installed_command_shows_its_help(environment: Path, tmp_path: Path) -> None:
    result = run(environment, "slubloom", "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout.startswith("Usage: slubloom")


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
