"""From an agent's configured tools to what its model sees, and to what is done when the model uses one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from bridge.config.tools import FunctionTool, McpTool, Webhook, name_of
from bridge.realtime.tools import definition
from bridge.tools.arguments import Arguments

Json = dict[str, Any]

Configured = str | FunctionTool | McpTool


@dataclass(frozen=True, slots=True)
class Offer:
    """A function that the model may call. `webhook` None: it is built in."""

    name: str
    arguments: Arguments
    webhook: Webhook | None = None


class Offered:
    """The tools of one agent, compiled once."""

    def __init__(self, tools: Sequence[Configured], targets: Sequence[str] = ()) -> None:
        """`targets` are the names that a transfer may use; without any there is nobody to transfer to."""
        self.definitions: tuple[Json, ...]
        """As the model is told them, in the order of the configuration."""
        self.missing: list[str]
        """Configured tools that cannot be offered: `transfer` with nobody to transfer to."""
        told = {name_of(tool): _definition(tool, targets) for tool in tools}
        self.definitions = tuple(definition for definition in told.values() if definition is not None)
        self.missing = [name for name, definition in told.items() if definition is None]
        offers = (_offer(tool, told[name_of(tool)]) for tool in tools)
        self._by_name = {offer.name: offer for offer in offers if offer is not None}

    def find(self, name: str) -> Offer | None:
        """The function with this name; None: none was offered."""
        return self._by_name.get(name)


def secrets(tools: Sequence[Configured]) -> list[str]:
    """Everything in the configuration of these tools that must never be shown."""
    found: list[SecretStr | None] = []
    for tool in tools:
        if isinstance(tool, FunctionTool):
            found += [tool.webhook.secret, *tool.webhook.headers.values()]
        elif isinstance(tool, McpTool):
            found += [tool.authorization, *(tool.headers or {}).values()]
    return [secret.get_secret_value() for secret in found if secret is not None]


def _definition(tool: Configured, targets: Sequence[str]) -> Json | None:
    if isinstance(tool, str):
        return definition(tool, targets)
    if isinstance(tool, FunctionTool):
        return tool.model_dump(include={"type", "name", "description", "parameters"})
    told = tool.model_dump(exclude_none=True, mode="json", exclude={"authorization", "headers"})
    if tool.authorization is not None:
        told["authorization"] = tool.authorization.get_secret_value()
    if tool.headers is not None:
        told["headers"] = {name: value.get_secret_value() for name, value in tool.headers.items()}
    return told


def _offer(tool: Configured, told: Json | None) -> Offer | None:
    if told is None or isinstance(tool, McpTool):
        return None
    webhook = tool.webhook if isinstance(tool, FunctionTool) else None
    return Offer(told["name"], Arguments(told["parameters"]), webhook)
