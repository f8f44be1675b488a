"""Imports point down: the cores know nobody above them, and no two parts know each other."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

BRIDGE = Path(__file__).parent.parent / "bridge"

MAY_KNOW = {
    # The cores.
    "audio": set(),
    "config": set(),
    "core_time": set(),
    "cycles": set(),
    "pressure": set(),
    "rates": set(),
    "records": set(),
    "sip": set(),
    "media": {"audio"},
    "realtime": {"audio"},
    "agent": {"audio"},
    "legs": {"audio", "config", "media", "records", "sip"},
    "transfer": {"audio", "config", "legs", "records", "sip"},
    # What a call is made of.
    "absence": {"config", "realtime"},
    "after_speech": set(),
    "attendance": {"idle", "records", "time_limit"},
    "barge_in": {"config", "realtime"},
    "call_record": {"legs", "records"},
    "call_tools": {
        "after_speech",
        "call_transfer",
        "call_waiting",
        "call_webhooks",
        "keys",
        "realtime",
        "rates",
        "records",
        "tools",
    },
    "call_transfer": {"after_speech", "legs", "realtime", "records", "sip", "transfer"},
    "call_waiting": {"config"},
    "call_webhooks": {"after_speech", "call_waiting", "config", "realtime", "tools"},
    "comfort": {"audio", "legs", "sounds"},
    "digits": set(),
    "floor": {"barge_in", "config", "own_turns", "promptness", "realtime"},
    "from_model": {"realtime", "records"},
    "hearing": {"audio", "comfort", "legs", "realtime"},
    "idle": {"config"},
    "keys": {"config", "digits"},
    "own_context": set(),
    "own_turns": {"audio", "config", "realtime"},
    "plan_b": {"after_speech", "config", "legs", "records", "sip", "sounds", "transfer"},
    "promptness": {"config", "realtime"},
    "recording": {"audio"},
    "sounds": {"audio"},
    "taping": {"legs", "recording"},
    "time_limit": {"config", "idle"},
    "tools": {"config", "realtime"},
    # What calls share.
    "logs": {"config"},
    "means": {"config", "prices", "realtime", "spending", "tools"},
    "prices": {"config", "realtime"},
    "profile": {"audio", "config", "legs", "logs", "providers", "realtime", "sounds", "tools", "transfer"},
    "providers": {"audio", "config", "realtime"},
    "spending": {"config", "prices", "realtime", "records"},
    "transcripts": {"config", "realtime", "records"},
    "call": {
        "absence",
        "attendance",
        "call_record",
        "call_tools",
        "comfort",
        "floor",
        "from_model",
        "hearing",
        "keys",
        "legs",
        "means",
        "own_context",
        "plan_b",
        "profile",
        "realtime",
        "records",
        "taping",
        "transfer",
    },
    # The service.
    "announcements": {"agent", "config", "media", "profile", "sounds"},
    "pipeline_file": {"config", "settings"},
    "web": set(),
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


@cache
def parts() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {}
    for file in BRIDGE.rglob("*.py"):
        part = file.relative_to(BRIDGE).parts[0].removesuffix(".py")
        graph.setdefault(part, set()).update(knows(file) - {part})
    return graph


@pytest.mark.parametrize("part", MAY_KNOW)
def test_a_part_knows_only_what_lies_below(part: str) -> None:
    assert parts()[part] <= MAY_KNOW[part]


def test_every_part_that_a_call_is_made_of_is_listed() -> None:
    below, new = set[str](), {"call"}
    while new:
        below |= new
        new = set().union(*(parts()[part] for part in new)) - below
    assert below <= set(MAY_KNOW)


def test_only_the_service_may_know_the_built_in_agent() -> None:
    """A call talks to it over a socket, as to any other server; so do its parts."""
    knowing = {part for part, known in parts().items() if "agent" in known}
    assert knowing == {"announcements", "cli", "lines"}


def test_nothing_imports_upward() -> None:
    assert list(TopologicalSorter(parts()).static_order())  # CycleError names the circle


def test_parent_relative_imports_are_not_used() -> None:
    for file in BRIDGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level > 1), f"{file}: from {'.' * node.level}"
