"""The request that a webhook gets: its body, and the headers that say who sends it. Without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson

from bridge import __version__
from bridge.config.tools import Webhook
from bridge.tools.signature import HEADER, signature

Json = dict[str, Any]

DELIVERY = "X-Sipbridge-Delivery"


@dataclass(frozen=True, slots=True)
class Request:
    """One use of a tool, the same at every try."""

    body: bytes
    delivery: str
    """An id of this use: whoever has seen it has carried the request out already."""

    @classmethod
    def of(cls, tool: str, call_id: str, arguments: Json, call: Mapping[str, Any]) -> Request:
        """`call_id` is the model's for this use, `call` what `about` gives."""
        members = {"tool": _clean(tool), "call_id": _clean(call_id), "arguments": arguments, "call": dict(call)}
        return cls(orjson.dumps(members), uuid4().hex)

    def headers(self, webhook: Webhook, at: int) -> dict[str, str]:
        """Those of one try, sent `at` Unix seconds."""
        own = {
            "User-Agent": f"sipbridge/{__version__}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/plain;q=0.9",
            "Accept-Encoding": "identity",  # what is packed could be of any size
            DELIVERY: self.delivery,
        }
        if webhook.secret is not None:
            own[HEADER] = signature(webhook.secret.get_secret_value(), self.body, at)
        return {name: value.get_secret_value() for name, value in webhook.headers.items()} | own


def about(call: str, agent: str, variables: Mapping[str, str], send: Iterable[str]) -> Json:
    """What a webhook is told of a call: its id, its agent, and of the rest what it asks for and what is known.

    `variables` as `records.Origin.variables` gives them.
    """
    told: Json = {"id": _clean(call), "agent": agent}
    for name in send:
        if name == "headers":
            prefix = "header["
            told[name] = {
                key[len(prefix) : -1]: _clean(value) for key, value in variables.items() if key.startswith(prefix)
            }
        elif variables.get(name):
            told[name] = _clean(variables[name])
    return told


def _clean(text: str) -> str:
    """Text of a stranger as JSON can carry it."""
    return text.encode("utf-8", "replace").decode()
