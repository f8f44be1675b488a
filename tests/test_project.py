"""What holds for the tree as a whole: nothing of one machine stands in it, and every requirement is pinned."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Put together here so that this file does not find itself.
MACHINE_PATHS = ["/" + "work/", "/" + "root/", "/tmp" + "/spec", "/" + "home/"]
REGISTRY = re.compile(
    r"artifact"
    r"ory|artifact"
    r"registry|-docker\.pk"
    r"g\.dev|-python\.pk"
    r"g\.dev|index-"
    r"url\s*=|"
    r"extra-index-"
    r"url|find-"
    r"links\s*=|trusted-"
    r"host|https?://[^\s/]*(?:nex"
    r"us|mirr"
    r"or|dev"
    r"pi)[^\s/]*/",
    re.IGNORECASE,
)


def tracked() -> list[Path]:
    """The files under version control; without git, those that would be."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        return [path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file()]
    top = ["bridge", "tests", "deploy", "docs", "requirements", "scripts", ".ci"]
    files = [file for folder in top for file in (ROOT / folder).rglob("*") if file.is_file()]
    return [f for f in files if "__pycache__" not in f.parts] + [f for f in ROOT.iterdir() if f.is_file()]


def text_of(file: Path) -> str:
    """Its text, or nothing when it is no text."""
    data = file.read_bytes()
    return "" if b"\0" in data[:8000] else data.decode("utf-8", "replace")


def test_no_file_names_a_folder_of_one_machine() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {path}" for file in tracked() for path in MACHINE_PATHS if path in text_of(file)
    ]
    assert not found


def test_no_file_names_a_package_registry() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {hit[0]}"
        for file in tracked()
        if (hit := REGISTRY.search(text_of(file))) is not None
    ]
    assert not found


@pytest.mark.parametrize("name", ["serve", "agent", "dev", "build"])
def test_every_requirement_is_pinned_with_hashes(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    wanted = [entry for entry in text.replace("\\\n", " ").splitlines() if entry.strip()]
    assert wanted
    for entry in wanted:
        assert re.match(r"[A-Za-z0-9._-]+==[^\s;]+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_service_and_the_agent_install_what_the_tests_have_tried() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        return set(re.findall(r"^([^\s\\]+==.*?)\s*\\$", text, re.MULTILINE))

    assert pins("serve") <= pins("agent") <= pins("dev")
    assert pins("build") <= pins("dev")
