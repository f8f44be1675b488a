"""Arguments: whatever a model writes is either what the schema asks for, or a short reason why not."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bridge.realtime.tools import definition
from bridge.tools.arguments import MOST_BYTES, Arguments, Fault, is_deep

BOOKING = {
    "type": "object",
    "properties": {
        "day": {"type": "string", "format": "date"},
        "persons": {"type": "integer", "minimum": 1, "maximum": 12},
        "table": {"enum": ["inside", "outside"]},
        "phone": {"type": "string", "pattern": r"^\+?\d+$"},
    },
    "required": ["day", "persons"],
    "additionalProperties": False,
}
TREE = {"type": "object", "properties": {"below": {"$ref": "#"}, "leaf": {"$ref": "#/$defs/leaf"}}}
TREE |= {"$defs": {"leaf": {"type": "integer"}}}


def words(schema: dict[str, Any], text: str) -> str:
    read = Arguments(schema).read(text)
    assert isinstance(read, Fault), read
    return read.words


def test_what_fits_is_read() -> None:
    text = '{"day": "2026-12-24", "persons": 4, "table": "inside", "phone": "+4930"}'
    assert Arguments(BOOKING).read(text) == json.loads(text)


@pytest.mark.parametrize("text", ["", " \n", "{}"])
def test_nothing_at_all_is_no_arguments(text: str) -> None:
    assert Arguments({"type": "object"}).read(text) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"day": "2026-12-24", "pers', "the arguments are no JSON, perhaps cut off: "),
        ("{'day': 1}", "the arguments are no JSON"),
        ('{"a": NaN}', "the arguments are no JSON"),
        (r'{"a": "\ud800"}', "the arguments are no JSON"),
        ("[]", "the arguments must be a JSON object"),
        ("null", "the arguments must be a JSON object"),
        ('"{}"', "the arguments must be a JSON object"),
        ("{}", "the arguments do not fit: 'day' is a required property; 'persons' is a required property"),
        ('{"day": "24.12.", "persons": 4}', "day: '24.12.' is not a 'date'"),
        ('{"day": "2026-02-30", "persons": 4}', "day: '2026-02-30' is not a 'date'"),
        ('{"day": "2026-12-24", "persons": "four"}', "persons: 'four' is not of type 'integer'"),
        ('{"day": "2026-12-24", "persons": 13}', "persons: 13 is greater than the maximum of 12"),
        ('{"day": "2026-12-24", "persons": 2, "table": "roof"}', "table: 'roof' is not one of"),
        ('{"day": "2026-12-24", "persons": 2, "phone": "ask"}', "phone: 'ask' does not match"),
        ('{"day": "2026-12-24", "persons": 2, "smoker": true}', "'smoker' was unexpected"),
    ],
)
def test_what_does_not_fit_is_said_in_words_for_the_model(text: str, expected: str) -> None:
    assert expected in words(BOOKING, text)


def test_the_words_are_short_however_long_the_arguments() -> None:
    long = {f"unknown_{number}": "x" * 300 for number in range(100)} | {"day": "d" * 9000, "persons": "p" * 9000}
    assert len(words(BOOKING, json.dumps(long))) < 800
    many = {"type": "object", "additionalProperties": {"type": "string"}}
    assert len(words(many, json.dumps(dict.fromkeys(map(str, range(1000)), 5)))) < 200
    assert words(BOOKING, json.dumps({"day": "x" * MOST_BYTES})) == "the arguments are too long"


def test_a_text_that_would_make_a_pattern_slow_is_refused_at_once() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "a*a*b"}}}
    arguments = Arguments(schema)
    assert arguments.read('{"a": "xaab"}') == {"a": "xaab"}
    assert isinstance(arguments.read(json.dumps({"a": "a" * 60_000})), Fault)


@pytest.mark.parametrize("depth", [10, 33, 1000, 30_000])
@pytest.mark.parametrize("piece", ["[]", '{"below":}'])
def test_what_is_deep_is_refused_before_it_is_looked_at(depth: int, piece: str) -> None:
    half = len(piece) - 1
    text = '{"below":' + piece[:half] * depth + "1" + piece[half:] * depth + "}"
    read = Arguments({"type": "object"}).read(text[: MOST_BYTES + 1])
    assert isinstance(read, Fault) == (depth > 31)
    assert depth > 31 or orjson.loads(text) == read


def test_a_schema_may_lead_back_to_itself() -> None:
    assert Arguments(TREE).read('{"below": {"below": {"leaf": 1}}}') == {"below": {"below": {"leaf": 1}}}
    assert "below.below.leaf: 'x'" in words(TREE, '{"below": {"below": {"leaf": "x"}}}')
    round_and_round = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {}}}
    round_and_round["$defs"] = {"a": {"$ref": "#/$defs/a"}}
    assert words(round_and_round, '{"a": 1}') == "the arguments cannot be checked"


def test_depth_is_counted_in_objects_and_lists() -> None:
    assert not is_deep(1, 0) and is_deep([], 0)
    assert not is_deep([[1]], 2) and is_deep([[1]], 1) and is_deep({"a": [{}]}, 2)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
known = st.fixed_dictionaries(
    {},
    optional={
        "day": st.dates().map(str) | st.text(),
        "persons": st.integers(-2, 14) | json_values,
        "table": st.sampled_from(["inside", "outside", "roof"]),
        "phone": st.from_regex(r"\A\+?[0-9]{1,20}\Z") | st.text(),
        "more": json_values,
    },
)


@given(known | json_values)
def test_exactly_what_the_schema_allows_is_read(value: Any) -> None:
    """The judge is the library itself, with its own patterns."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        return  # text that no JSON can carry
    judge = Draft202012Validator(BOOKING, format_checker=Draft202012Validator.FORMAT_CHECKER)
    read = Arguments(BOOKING).read(text)
    value = orjson.loads(text)
    if isinstance(value, dict) and judge.is_valid(value):
        assert read == value
    else:
        assert isinstance(read, Fault) and 0 < len(read.words) < 1000


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_text_is_an_exception(text: str) -> None:
    for schema in (BOOKING, TREE):
        assert isinstance(Arguments(schema).read(text), dict | Fault)


@given(st.sampled_from(["hang_up", "transfer", "send_digits", "read_digits", "hold"]), json_values)
def test_the_built_in_tools_check_theirs(name: str, value: Any) -> None:
    offered = definition(name, ["desk"])
    assert offered is not None
    schema = offered["parameters"]
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        return
    read = Arguments(schema).read(text)
    assert isinstance(read, Fault) or (read == orjson.loads(text) and Draft202012Validator(schema).is_valid(read))


def test_the_schema_is_compiled_once_and_not_at_each_use() -> None:
    """A ratio of one run."""
    text = '{"day": "2026-12-24", "persons": 4}'
    arguments = Arguments(BOOKING)

    def best(work: Any) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(50):
                work()
            times.append(time.perf_counter() - began)
        return min(times)

    assert best(lambda: arguments.read(text)) < best(lambda: Draft202012Validator.check_schema(BOOKING)) / 2
