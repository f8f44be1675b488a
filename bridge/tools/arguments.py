"""What the model wrote as a tool's arguments: JSON that fits the tool's schema, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry

from bridge.config.pattern import Pattern

Json = dict[str, Any]

MOST_BYTES = 64 * 1024
MOST_FAULTS = 3
_FAULT_CHARACTERS = 200
_MOST_DEPTH = 32
"""A value that deep is nonsense, and deeper ones are more than encoders and the check itself can do."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Arguments that cannot be used; `words` tell the model why."""

    words: str


@cache
def _compiled(pattern: str) -> Pattern:
    return Pattern.parse(f"/{pattern}/")


def _pattern(_: Validator, pattern: str, value: Any, __: Json) -> Iterator[ValidationError]:
    """As in routes: a long text fits no expression, so that none can be made slow."""
    if isinstance(value, str) and not _compiled(pattern).fits(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


class Arguments:
    """The arguments of one tool. The schema has passed `config.schema.check`."""

    def __init__(self, schema: Json) -> None:
        # With an empty registry: by default the library would fetch what it does not know.
        self._validator = _Validator(schema, registry=Registry(), format_checker=_Validator.FORMAT_CHECKER)

    def read(self, text: str) -> Json | Fault:
        """The arguments; no text at all is none. Never raises, whatever the text."""
        if len(text) > MOST_BYTES:
            return Fault("the arguments are too long")
        try:
            value = orjson.loads(text.strip() or "{}")
        except ValueError as error:
            return Fault(f"the arguments are no JSON, perhaps cut off: {str(error)[:_FAULT_CHARACTERS]}")
        if not isinstance(value, dict):
            return Fault("the arguments must be a JSON object")
        if is_deep(value, _MOST_DEPTH):
            return Fault("the arguments are too deeply nested")
        return self._checked(value)

    def _checked(self, value: Json) -> Json | Fault:
        try:
            faults = [_words(error) for error in islice(self._validator.iter_errors(value), MOST_FAULTS)]
        except RecursionError:  # a schema whose references lead back to themselves
            return Fault("the arguments cannot be checked")
        return Fault(f"the arguments do not fit: {'; '.join(faults)}") if faults else value


def is_deep(value: Any, most: int) -> bool:
    """Whether objects and lists lie more than `most` deep in each other."""
    level = [value]
    for _ in range(most):
        level = [below for one in level for below in _inside(one)]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _words(error: ValidationError) -> str:
    place = ".".join(map(str, error.absolute_path))
    words = f"{place}: {error.message}" if place else error.message
    return words if len(words) <= _FAULT_CHARACTERS else f"{words[:_FAULT_CHARACTERS]}..."
