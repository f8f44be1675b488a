"""Strict check of Realtime events: the `openai` package's types, no foreign fields, the ranges of the documentation.

`problems(event, "client")` and `problems(event, "server")` give a list of what is wrong, empty for a good event.
The classes alone would let unknown fields, negative times and both modalities through.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pydantic
from openai.types import realtime

# The service sends these although the classes do not name them.
_EXTRAS_ANYWHERE = {"obfuscation", "phase", "reasoning_tokens"}
_EXTRAS_OF_SESSION = {"id", "object", "expires_at"}


def _members(union: Any) -> Iterator[type[pydantic.BaseModel]]:
    """The classes of a union, through Annotated and nested unions."""
    if isinstance(union, type):
        yield union
        return
    for part in typing.get_args(union):
        if isinstance(part, type) or typing.get_origin(part) is not None:
            yield from _members(part)


@functools.cache
def classes(side: str) -> dict[str, type[pydantic.BaseModel]]:
    """Event type -> class, for the "client" or the "server" side (GA)."""
    union = {"client": realtime.RealtimeClientEvent, "server": realtime.RealtimeServerEvent}[side]
    table = {}
    for one in _members(union):
        if issubclass(one, pydantic.BaseModel):
            for name in typing.get_args(one.model_fields["type"].annotation):
                table[name] = one
    return table


def problems(event: dict[str, Any], side: str) -> list[str]:
    """What is wrong with one event; `side` is who sends it."""
    kind = event.get("type")
    model = classes(side).get(kind) if isinstance(kind, str) else None
    if model is None:
        return [f"unknown {side} event {kind!r}"]
    try:
        parsed = model.model_validate(event, strict=True)
    except pydantic.ValidationError as wrong:
        return [f"{kind}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in wrong.errors()]
    found = [f"{kind}: unknown field {'.'.join(path)}" for path in _extras(parsed) if not _allowed(path, side)]
    return found + [f"{kind}: {fault}" for fault in _out_of_range(event, side)]


def _extras(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all members that the classes do not know."""
    match value:
        case pydantic.BaseModel():
            yield from ((*path, name) for name in value.model_extra or ())
            for name in type(value).model_fields:
                yield from _extras(getattr(value, name), (*path, name))
        case list():
            for index, each in enumerate(value):
                yield from _extras(each, (*path, str(index)))
        case dict():
            for name, each in value.items():
                yield from _extras(each, (*path, str(name)))


def _allowed(path: tuple[str, ...], side: str) -> bool:
    if side == "client":
        return False
    return path[-1] in _EXTRAS_ANYWHERE or (len(path) == 2 and path[0] == "session" and path[1] in _EXTRAS_OF_SESSION)


# Ranges: path -> test. "*" is every entry of a list.


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: value is None or low <= value <= high


_NOT_NEGATIVE = _between(0, float("inf"))
_FORMAT: Callable[[Any], bool] = lambda value: (  # noqa: E731
    value is None or (value.get("rate") == 24000 if value.get("type") == "audio/pcm" else "rate" not in value)
)
_TOKENS: Callable[[Any], bool] = lambda value: value in (None, "inf") or 1 <= value <= 4096  # noqa: E731
_ONE: Callable[[Any], bool] = lambda value: value is None or len(value) == 1  # noqa: E731
_METADATA: Callable[[Any], bool] = lambda value: (  # noqa: E731
    value is None
    or (len(value) <= 16 and all(len(k) <= 64 and isinstance(v, str) and len(v) <= 512 for k, v in value.items()))
)

_RANGES: dict[str, Callable[[Any], bool]] = {
    "event_id": lambda value: value is None or 0 < len(value) <= 512,
    "audio_end_ms": _NOT_NEGATIVE,
    "audio_start_ms": _NOT_NEGATIVE,
    "content_index": _NOT_NEGATIVE,
    "output_index": _NOT_NEGATIVE,
    "session.output_modalities": _ONE,
    "session.max_output_tokens": _TOKENS,
    "session.audio.input.format": _FORMAT,
    "session.audio.output.format": _FORMAT,
    "session.audio.output.speed": _between(0.25, 1.5),
    "session.audio.input.turn_detection.threshold": _between(0, 1),
    "session.audio.input.turn_detection.prefix_padding_ms": _NOT_NEGATIVE,
    "session.audio.input.turn_detection.silence_duration_ms": _NOT_NEGATIVE,
    "session.audio.input.turn_detection.idle_timeout_ms": _between(5000, 30000),
    "session.truncation.retention_ratio": _between(0, 1),
    "response.output_modalities": _ONE,
    "response.max_output_tokens": _TOKENS,
    "response.metadata": _METADATA,
    "response.audio.output.format": _FORMAT,
}


def _out_of_range(event: dict[str, Any], side: str) -> Iterator[str]:
    for path, good in _RANGES.items():
        value = _at(event, path.split("."))
        if not good(value):
            yield f"{path} is out of range: {value!r}"
    if side == "server" and event["type"] != "input_audio_buffer.dtmf_event_received" and not event.get("event_id"):
        yield "event_id is missing"


def _at(value: Any, path: list[str]) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
