"""The build of the container image: the tests of what is compiled, against what came of it, and calls through it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.compiled import built
from tests.bench.machine import ROOT
from tests.bench.programs import ProgramFailed

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def build() -> Path:
    """Where it is imported from."""
    try:
        return built()
    except ProgramFailed as failure:
        pytest.skip(str(failure))


def run(build: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with this build instead of the source."""
    environ = os.environ | {"PYTHONPATH": f"{build}{os.pathsep}{ROOT}"}
    return subprocess.run([sys.executable, "-P", *arguments], cwd=ROOT, env=environ, capture_output=True, text=True)


def test_it_passes_the_tests_of_its_source(build: Path) -> None:
    shown = "import bridge; from bridge.app import COMPILED; print(COMPILED, bridge.__file__)"
    assert run(build, "-c", shown).stdout == f"True {build}/bridge/__init__.py\n"
    chosen = ("tests/media", "tests/legs", "tests/realtime", "-m", "not interop and not long and not alone")
    options = ("-q", "-n", "2", "--dist", "loadfile", "--import-mode=importlib", "-p", "no:cacheprovider")
    tests = run(build, "-m", "pytest", *chosen, *options)
    assert tests.returncode == 0, tests.stdout[-5000:]


def test_it_carries_calls(build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    assert main(["--cases", "append-20", "--calls", "5", "--seconds", "3", "--json", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("compiled")
    (row,) = json.loads(path.read_text())["rows"]
    assert row["measured"]["caller"]["up"] == 5 and row["measured"]["caller"]["lost"] == 0
