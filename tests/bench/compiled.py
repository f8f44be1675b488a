"""The build that the container image has, made here: what runs for every packet as machine code."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.machine import ROOT
from tests.bench.programs import ProgramFailed

FOLDER = ROOT / ".cache" / "compiled"
LIMIT_S = 600
MISSING = "no compiled build: gcc and Python's headers (Debian: gcc, python3-dev) make one, --plain measures the source"


def built(folder: Path = FOLDER) -> Path:
    """The folder to import it from; made when it is not there yet, in under a minute. Raises ProgramFailed."""
    made = folder / f"{sys.implementation.cache_tag}-{_state()}"
    if made.exists():
        return made
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(folder / "base"), "--build-lib"]
    environ = os.environ | {"SIPBRIDGE_COMPILE": "1"}
    lib = folder / "lib"
    try:
        subprocess.run(
            [*command, str(lib)], cwd=ROOT, env=environ, check=True, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.CalledProcessError as failure:
        words = (failure.stderr.strip() or failure.stdout.strip()).splitlines()[-1:]
        raise ProgramFailed(f"{MISSING} ({''.join(words)})") from failure
    return lib.rename(made)


def chosen(*, plain: bool) -> Path | None:
    """What to import the service from: None for the source as it is. Raises ProgramFailed."""
    return None if plain else built()


def _state() -> str:
    """What the build is made of."""
    sources = sorted((*(ROOT / "bridge").rglob("*.py"), ROOT / "setup.py", ROOT / "pyproject.toml"))
    whole = hashlib.sha256()
    for source in sources:
        whole.update(str(source.relative_to(ROOT)).encode() + source.read_bytes())
    return whole.hexdigest()[:16]
