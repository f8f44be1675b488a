"""What a log line looks like, and what never stands in it."""

from __future__ import annotations

import json
import subprocess
import sys

from bridge.logs import LogBudget, hide, redact

PROGRAM = """
import logging, structlog
from bridge import logs
from bridge.config import Log
logs.set_up(Log(level="info", format="json"))
log = structlog.get_logger("sipbridge.test")
with structlog.contextvars.bound_contextvars(call="abc"):
    log.info("one", api_key="sk-1", words="x\\ny")
    log.debug("hidden")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
logging.getLogger("some.library").warning("its own words")
logging.getLogger("some.library").info("not this")
"""


def test_a_line_is_json_with_the_call_and_without_the_secret() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["one", "broken", "its own words"]
    assert lines[0]["call"] == "abc" and lines[0]["level"] == "info" and lines[0]["timestamp"]
    assert lines[0]["api_key"] == "(hidden)" and "sk-1" not in done.stderr
    assert "ZeroDivisionError" in lines[1]["exception"]
    assert done.stdout == ""


def test_every_field_with_a_secrets_name_is_hidden() -> None:
    event = {"event": "x", "Authorization": "a", "password": "b", "client_secret": "c", "call": "d"}
    assert redact(None, "", dict(event)) == {
        "event": "x",
        "Authorization": "(hidden)",
        "password": "(hidden)",
        "client_secret": "(hidden)",
        "call": "d",
    }


def test_a_known_secret_is_hidden_whoever_says_it() -> None:
    hide("sk-known")
    assert redact(None, "", {"event": "x", "detail": "Incorrect key sk-known."})["detail"] == "Incorrect key (hidden)."


def test_a_flood_of_lines_is_told_as_a_number() -> None:
    budget = LogBudget(2)
    assert [budget.take(now) for now in (5.0, 5.1, 5.2, 5.9, 6.0, 6.1)] == [0, 0, None, None, 2, 0]
