"""Imports point down: the cores know nobody above them, and no two parts know each other."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

BRIDGE = Path(__file__).parent.parent / "bridge"

MAY_KNOW = {
    "audio": set(),
    "config": set(),
    "records": set(),
    "sip": set(),
    "media": {"audio"},
    "realtime": {"audio"},
    "agent": {"audio"},
    "legs": {"audio", "config", "media", "records", "sip"},
    "transfer": {"audio", "config", "legs", "records", "sip"},
    "recording": {"audio"},
    "taping": {"legs", "recording"},
    "barge_in": {"config", "realtime"},
    "keys": {"config", "digits"},
    "call": {
        "call_tools",
        "config",
        "floor",
        "hearing",
        "keys",
        "legs",
        "own_context",
        "profile",
        "realtime",
        "records",
        "taping",
        "transfer",
    },
    "web": {"config", "metrics", "records"},
}


def knows(file: Path) -> set[str]:
    """The parts of `bridge` that a file imports when it runs; what only the type checker reads does not count."""
    tree = ast.parse(file.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = [ast.Pass()]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level <= 1:
            here = "bridge." + ".".join(file.relative_to(BRIDGE).parts[:-1])
            module = f"{here.rstrip('.')}.{node.module or ''}".rstrip(".") if node.level else node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "bridge" else {module}
    return {name.split(".")[1] for name in found if name.startswith("bridge.")} - {"__version__"}


def parts() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for file in BRIDGE.rglob("*.py"):
        part = file.relative_to(BRIDGE).parts[0].removesuffix(".py")
        graph.setdefault(part, set()).update(knows(file) - {part})
    return graph


@pytest.mark.parametrize("part", MAY_KNOW)
def test_a_part_knows_only_what_lies_below(part: str) -> None:
    assert parts().get(part, set()) <= MAY_KNOW[part]


def test_nothing_imports_upward() -> None:
    assert list(TopologicalSorter(parts()).static_order())  # CycleError names the circle


def test_parent_relative_imports_are_not_used() -> None:
    for file in BRIDGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level > 1), f"{file}: from {'.' * node.level}"
