"""Schemas of tools: nothing in one can be slow, be fetched, or fail in the middle of a call."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.config.schema import check


def with_property(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}} | more


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        with_property({"type": "string", "pattern": r"^\d{4}-\d{2}$", "minLength": 1}),
        with_property({"$ref": "#/$defs/x"}, **{"$defs": {"x": {"type": "integer"}}}),
        with_property({"$ref": "#/definitions/x"}, definitions={"x": True}),
        with_property({"$ref": "#"}),
        with_property({"anyOf": [{"type": "string"}, {"type": "null"}], "items": {"not": {}}}),
        {"type": "object", "properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}},
        {"type": "object", "additionalProperties": False, "x-anything": 5},
    ],
)
def test_good_schemas_are_taken(schema: dict[str, Any]) -> None:
    check(schema)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "string", "pattern": "(a+)+"}, r"pattern '\(a\+\)\+': a repeated group"),
        ({"type": "string", "pattern": "("}, "is not a 'regex'|not a regular expression"),
        ({"type": "string", "pattern": "a*a*a*a*a*a*"}, "may take too long"),
        ({"patternProperties": {"a": {}}}, "patternProperties cannot be used here"),
        ({"$ref": "https://example.com/schema"}, "leads nowhere: write #/"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"$ref": "#/properties/a"}, "leads nowhere"),
        ({"$id": "https://example.com/"}, r"\$id cannot be used here"),
        ({"$dynamicRef": "#x"}, r"\$dynamicRef cannot be used here"),
    ],
)
@pytest.mark.parametrize("word", ["properties", "items", "anyOf", "$defs", "additionalProperties", "if"])
def test_what_could_be_slow_or_far_is_found_wherever_it_stands(part: Any, expected: str, word: str) -> None:
    within = {"properties": {"b": part}, "anyOf": [{}, part], "$defs": {"b": part}}.get(word, part)
    with pytest.raises(ValueError, match=expected):
        check(with_property({word: within}))


def test_the_words_are_short() -> None:
    with pytest.raises(ValueError) as caught:
        check({"type": "object", "required": "x" * 5000})
    assert len(str(caught.value)) < 300
