"""JSON schemas of tools: what may stand in one (draft 2020-12), so that no argument can make a check slow or fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from .pattern import Pattern

Json = dict[str, Any]

_MAPS = ("properties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = (
    "items",
    "not",
    "if",
    "then",
    "else",
    "additionalProperties",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_REFUSED = ("patternProperties", "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef")
_SHOWN = 200
"""Characters of what is wrong: the library's words repeat the value, whatever its length."""


def check(schema: Json) -> None:
    """ValueError says what is wrong with the schema of a tool's arguments.

    References stay inside the schema (`#/$defs/NAME`): nothing is ever fetched. Patterns are those of routes.
    """
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"{_place(error)}: {error.message[:_SHOWN]}") from None
    if schema.get("type") != "object":
        raise ValueError("must be of `type: object`: arguments have names")
    for part in _parts(schema):
        for word in _REFUSED:
            if word in part:
                raise ValueError(f"{word} cannot be used here")
        if "pattern" in part:
            _check_pattern(part["pattern"])
        if "$ref" in part:
            _check_reference(schema, part["$ref"])


def _parts(schema: Any) -> Iterator[Json]:
    """A schema and all schemas in it; true and false are schemas too, without anything to look at."""
    if not isinstance(schema, dict):
        return
    yield schema
    for word in _SINGLE:
        yield from _parts(schema.get(word))
    for word in _MAPS:
        for part in schema.get(word, {}).values():
            yield from _parts(part)
    for word in _LISTS:
        for part in schema.get(word, ()):
            yield from _parts(part)


def _check_pattern(pattern: str) -> None:
    try:
        Pattern.parse(f"/{pattern}/")
    except ValueError as error:
        raise ValueError(f"pattern {pattern[:_SHOWN]!r}: {error}") from None


def _check_reference(schema: Json, reference: str) -> None:
    word, _, name = reference.removeprefix("#/").partition("/")
    is_known = word in ("$defs", "definitions") and name in schema.get(word, {})
    if reference != "#" and not (reference.startswith("#/") and is_known):
        raise ValueError(f"$ref {reference[:_SHOWN]!r} leads nowhere: write #/$defs/NAME")


def _place(error: SchemaError) -> str:
    return ".".join(map(str, error.absolute_path)) or "parameters"
