"""What came of a request, in words for the model: short, without internals, and small enough for any encoder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.tools.reply import Repeat, broken, of_status, read, too_late, unreachable

JSON = "application/json"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"free": true}', {"free": True}),
        (b'\xef\xbb\xbf {"free": true}\r\n', {"free": True}),
        (b"[1, 2]", {"result": [1, 2]}),
        (b"4.5", {"result": 4.5}),
        (b"null", {"result": None}),
        (b"", {"status": "done"}),
        (b" \n", {"status": "done"}),
        ("drei Stück\n".encode(), {"result": "drei Stück"}),
        (b'{"free": tru', {"result": '{"free": tru'}),
        (b'{"a": NaN}', {"result": '{"a": NaN}'}),
    ],
)
def test_json_and_text_are_results(body: bytes, expected: dict[str, Any]) -> None:
    reply = read(200, JSON, body, 1000)
    assert (reply.outcome, reply.output) == ("ok", expected)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (JSON, b"\xff\xfe\x00"),
        (JSON, "für".encode("latin-1")),
        (JSON, b"a\0b"),
        ("text/html; charset=utf-8", b"<html>Sign in</html>"),
        ("Text/HTML", b"{}"),
    ],
)
def test_what_is_no_text_or_a_web_page_is_no_result(kind: str, body: bytes) -> None:
    reply = read(200, kind, body, 1000)
    assert reply.outcome == "unreadable" and set(reply.output) == {"error"}


def test_what_is_too_long_is_cut_between_two_letters_and_says_so() -> None:
    reply = read(200, JSON, "ü".encode() * 60, 101)
    assert reply.output == {"result": "ü" * 50, "note": "cut: these are the first 101 bytes"}
    assert read(200, JSON, b"x" * 100, 100).output == {"result": "x" * 100}


@pytest.mark.parametrize("depth", [10, 64, 65, 300, 1200])
def test_what_is_too_deep_for_encoders_is_given_as_text(depth: int) -> None:
    text = "[" * depth + "]" * depth
    output = read(200, JSON, text.encode(), 10_000).output
    assert (output == {"result": text}) == (depth > 64)
    orjson.dumps({"a": {"b": {"c": {"d": output}}}})


def test_an_error_says_no_more_than_its_number() -> None:
    assert of_status(404).output == {"error": "the service refused it (404)"}
    assert of_status(500).output == {"error": "the service has failed (500)"}
    assert of_status(302).outcome == "redirected"


def test_only_what_was_surely_not_done_may_always_be_done_again() -> None:
    assert unreachable("x").repeat is Repeat.ALWAYS
    assert {reply.repeat for reply in (broken("x"), too_late(), *map(of_status, (502, 503, 504)))} == {
        Repeat.IF_IDEMPOTENT
    }
    assert {of_status(status).repeat for status in (302, 400, 404, 409, 429, 500, 501)} == {Repeat.NEVER}


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_body_is_a_small_object(body: bytes) -> None:
    reply = read(200, JSON, body, 100)
    assert reply.outcome in ("ok", "unreadable") and isinstance(reply.output, dict)
    assert len(json.dumps(reply.output)) <= 100 * 6 + 80


def test_every_outcome_is_documented_and_no_other() -> None:
    root = Path(__file__).parent.parent.parent
    text = (root / "docs" / "tools.md").read_text()
    rows = re.findall(r"^\| (.*?) \|", text[text.index("## How a use ends") :], re.MULTILINE)
    documented = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    sources = [*(root / "bridge" / "tools").glob("*.py"), *(root / "bridge").glob("call_*.py")]
    source = "".join(path.read_text() for path in sources)
    counted = set(re.findall(r"(?:Reply\(|_note\(|outcome = )\"(\w+)\"", source)) | {"failed"}
    assert documented == counted
