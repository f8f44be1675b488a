"""The build of the container image: the tests of this project, against what came of it, and calls through it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.compiled import built
from tests.bench.machine import ROOT
from tests.bench.programs import ProgramFailed

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

NEEDED = ("tests", "pyproject.toml", "deploy", "docs", "README.md", "scripts")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project, with the compiled build in place of its source."""
    try:
        build = built()
    except ProgramFailed as failure:
        pytest.skip(str(failure))
    folder = tmp_path_factory.mktemp("compiled") / "sipbridge"
    shutil.copytree(build, folder)
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python where the compiled build is."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run([sys.executable, *arguments], cwd=tree, env=environ, capture_output=True, text=True)


@pytest.mark.parametrize(
    "chosen",
    [
        ("tests/media", "tests/legs", "tests/realtime"),
        ("tests/service/test_freed.py", "tests/service/test_transports.py", "tests/service/test_keys.py"),
    ],
    ids=["parts", "calls"],
)
def test_it_passes_the_tests_of_its_source(tree: Path, chosen: tuple[str, ...]) -> None:
    shown = "import bridge; from bridge.app import COMPILED; print(COMPILED, bridge.__file__)"
    assert run(tree, "-c", shown).stdout == f"True {tree}/bridge/__init__.py\n"
    options = ("-q", "-n", "2", "--dist", "loadfile", "-m", "not interop and not long and not alone")
    tests = run(tree, "-m", "pytest", *chosen, *options)
    assert tests.returncode == 0, tests.stdout[-5000:]


def test_it_carries_calls(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    assert main(["--cases", "append-20", "--calls", "5", "--seconds", "3", "--json", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("compiled")
    (row,) = json.loads(path.read_text())["rows"]
    assert row["measured"]["caller"]["up"] == 5 and row["measured"]["caller"]["lost"] == 0
