"""Strict check of Live events by the `openai` package's types (Live reference, section 13).

`problems(event, "client")` and `problems(event, "server")` give a list of what is wrong, empty for a good event. The
classes alone would let unknown fields and a missing `delegation_id` through, and refuse an error without a code.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator
from typing import Any

import pydantic
from openai.types.live.client_event import ClientEvent
from openai.types.live.server_event import ServerEvent

APPENDS = ("session.instructions.append", "session.thinking.append", "session.commentary.append")


@functools.cache
def classes(side: str) -> dict[str, type[pydantic.BaseModel]]:
    """Event type → class, of what the "client" or the "server" sends."""
    union: Any = {"client": ClientEvent, "server": ServerEvent}[side]
    members = typing.get_args(union)
    if typing.get_origin(union) is typing.Annotated:
        members = typing.get_args(members[0])
    return {typing.get_args(member.model_fields["type"].annotation)[0]: member for member in members}


def problems(event: dict[str, Any], side: str) -> list[str]:
    """What is wrong with one event; `side` is who sends it."""
    model = classes(side).get(str(event.get("type")))
    if model is None:
        return [f"unknown {side} event {event.get('type')!r}"]
    if side == "server" and event["type"] == "error" and event["error"].get("code") is None:
        event = event | {"error": event["error"] | {"code": "none"}}
    try:
        parsed = model.model_validate(event, strict=True)
    except pydantic.ValidationError as wrong:
        return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in wrong.errors()]
    found = [f"unknown field {path}" for path in _extras(parsed)]
    if side == "client" and event["type"] in APPENDS and "delegation_id" not in event:
        found.append("delegation_id is missing")
    return found


def _extras(value: Any, path: str = "") -> Iterator[str]:
    """Paths of all members that the classes do not know."""
    if isinstance(value, pydantic.BaseModel):
        yield from (f"{path}.{name}".lstrip(".") for name in value.model_extra or ())
        for name in value.model_fields_set:
            if name in type(value).model_fields:
                yield from _extras(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _extras(each, f"{path}.{index}")
