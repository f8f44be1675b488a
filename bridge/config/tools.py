"""What the model can do besides talking: tools of the application behind webhooks, and MCP servers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, SecretStr, Tag, model_validator
from yarl import URL

from . import schema
from .section import AsList, Json, Section

BUILT_IN_TOOLS = ("hang_up", "transfer", "send_digits", "read_digits", "hold")
TOOL_TAGS = frozenset({"a built-in tool", "type: function", "type: mcp"})
"""How the kinds of tools are told apart in the places of faults: no keys of the file."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
_VALUE = re.compile(r"[\x20-\x7e]{0,4096}\Z")
_OURS = ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "expect")
MIN_SECRET = 16
"""Characters: a shorter secret could be guessed from one signed request."""


def _tool_name(text: str) -> str:
    if not _NAME.match(text):
        raise ValueError("use 1 to 64 of A-Z a-z 0-9 _ -")
    return text


def _parameters(value: Json) -> Json:
    schema.check(value)
    return value


def http_url(text: str) -> str:
    """The same text; ValueError when it is no http:// or https:// URL."""
    try:
        parts = URL(text)
        good = parts.scheme in ("http", "https") and bool(parts.host) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"[\x00-\x20\x7f#]", text):
        raise ValueError("write it as https://HOST/path")
    return text


ToolName = Annotated[str, AfterValidator(_tool_name)]
HttpUrl = Annotated[str, AfterValidator(http_url)]
Known = Literal["caller", "caller_name", "called", "diverted_from", "trunk", "headers"]
"""What is known of a call, and told to a webhook only where it is asked for."""


class Filler(Section):
    """What the caller hears when a webhook takes long."""

    after_s: float = Field(default=2, ge=0.2, le=60)
    say: str | None = None
    """Instructions for one sentence of the model."""
    sound: Literal["tone", "music"] | None = None
    """Heard until the result is there, behind the sentence where there is one."""

    @model_validator(mode="after")
    def _fills(self) -> Filler:
        if self.say is None and self.sound is None:
            raise ValueError("name what the caller shall hear: `say`, or `sound`")
        return self


class Webhook(Section):
    """Where a tool of the application is done: one request with JSON in, JSON or text out."""

    url: HttpUrl
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    secret: SecretStr | None = None
    """Signs the requests; without it they are not signed."""
    headers: dict[str, SecretStr] = Field(default={})
    timeout_s: float = Field(default=10, gt=0, le=120)
    """One request, from the look-up of the name to the last byte."""
    retries: int = Field(default=1, ge=0, le=5)
    idempotent: bool = False
    """Whether the same request may come twice: then it is repeated also when the first may have been carried out."""
    send: Annotated[tuple[Known, ...], AsList] = ()
    when: Literal["now", "after_speech"] = "now"
    """`after_speech`: when the caller has heard all that was said before, and not if he speaks into it."""
    filler: Filler | None = None
    max_result_bytes: int = Field(default=10_000, ge=100, le=100_000)
    after_call: bool = False
    """Finish it also when the call is over."""

    @model_validator(mode="after")
    def _can_be_sent(self) -> Webhook:
        """Here and not at the fields: the text of a fault of a section never repeats what was written."""
        if URL(self.url).user is not None or URL(self.url).password is not None:
            raise ValueError("url: no user and password in it: put them into `headers` as Authorization")
        if self.secret is not None and len(self.secret.get_secret_value()) < MIN_SECRET:
            raise ValueError(f"secret: use {MIN_SECRET} characters or more")
        for name, value in self.headers.items():
            if not _HEADER.match(name) or name.lower() in _OURS or name.lower().startswith("x-sipbridge-"):
                raise ValueError(f"headers: {name[:64]!r} cannot be set")
            if not _VALUE.match(value.get_secret_value()):
                raise ValueError(f"headers: {name}: use printable ASCII, 4096 characters at most")
        return self


class FunctionTool(Section):
    """A tool of the application."""

    type: Literal["function"]
    name: ToolName
    description: str = ""
    parameters: Annotated[Json, AfterValidator(_parameters)] = Field(default={"type": "object", "properties": {}})
    """JSON schema of the arguments, see `schema`."""
    webhook: Webhook


class McpTool(Section):
    """An MCP server that the provider itself talks to."""

    type: Literal["mcp"]
    server_label: ToolName
    server_url: HttpUrl | None = None
    connector_id: str | None = None
    tunnel_id: str | None = None
    server_description: str | None = None
    authorization: SecretStr | None = None
    headers: dict[str, SecretStr] | None = None
    allowed_tools: tuple[str, ...] | Json | None = None
    require_approval: Literal["never"] = "never"
    """Nobody can click on a telephone."""
    defer_loading: bool | None = None

    @model_validator(mode="after")
    def _one_server(self) -> McpTool:
        if [self.server_url, self.connector_id, self.tunnel_id].count(None) != 2:
            raise ValueError("needs one of `server_url`, `connector_id`, `tunnel_id`")
        return self


def _built_in(value: Any) -> Any:
    if isinstance(value, dict):
        raise ValueError("a tool of your own needs `type: function` or `type: mcp`")
    if value not in BUILT_IN_TOOLS:
        raise ValueError(f"there is no built-in tool {value!r}: use {' or '.join(BUILT_IN_TOOLS)}")
    return value


def _kind(value: Any) -> str:
    if isinstance(value, FunctionTool | McpTool):
        return f"type: {value.type}"
    tag = f"type: {value.get('type')}" if isinstance(value, dict) else ""
    return tag if tag in TOOL_TAGS else "a built-in tool"


Tool = Annotated[
    Annotated[str, BeforeValidator(_built_in), Tag("a built-in tool")]
    | Annotated[FunctionTool, Tag("type: function")]
    | Annotated[McpTool, Tag("type: mcp")],
    Discriminator(_kind),
]
"""One entry of `agents.<name>.tools`."""
Tools = tuple[Tool, ...]


_FUNCTIONS = frozenset({"function"})
_ALL = frozenset({"function", "mcp"})
TAKES: Mapping[str, frozenset[str]] = {
    "openai": _ALL,
    "azure": _ALL,
    "live": _FUNCTIONS,
    "azure-live": _FUNCTIONS,
    "gemini": _FUNCTIONS,
    "elevenlabs": _FUNCTIONS,
    "builtin": _FUNCTIONS,
}
"""Provider → the kinds of tools it takes. What is not here is a server compatible with `openai`."""


def name_of(tool: str | FunctionTool | McpTool) -> str:
    """What the model, or the provider, calls it."""
    if isinstance(tool, str):
        return tool
    return tool.name if isinstance(tool, FunctionTool) else tool.server_label


def each_once(tools: Iterable[str | FunctionTool | McpTool]) -> None:
    """ValueError when two tools of an agent have the same name: the model could not tell them apart."""
    seen: set[str] = set()
    for name in map(name_of, tools):
        if name in seen:
            raise ValueError(f"two tools have the name {name!r}: a name can be used once")
        seen.add(name)


def why_not(provider: str, tools: Iterable[str | FunctionTool | McpTool]) -> str:
    """Why a provider cannot have these tools, as the text of a fault; empty: it can."""
    taken = TAKES.get(provider, _ALL)
    for tool in tools:
        if not isinstance(tool, str) and tool.type not in taken:
            return f"tools: {name_of(tool)}: {provider} takes no tools of `type: {tool.type}`: use a webhook instead"
    return ""
