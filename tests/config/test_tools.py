"""Tools in the configuration: what is wrong with one stops the start, and nothing of its secrets is repeated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from bridge.config.tools import TAKES, TOOL_TAGS, FunctionTool, McpTool, each_once, why_not
from tests.tools.wooden import own, tools

MCP = {"type": "mcp", "server_label": "shop"}


def fault(*written: Any) -> tuple[str, tuple[Any, ...]]:
    with pytest.raises(ValidationError) as caught:
        tools(*written)
    (first, *_) = caught.value.errors()
    return first["msg"], first["loc"]


def test_names_and_sections_stand_beside_each_other() -> None:
    read = tools("hang_up", own(), MCP | {"server_url": "https://mcp.example/"})
    assert read[0] == "hang_up" and isinstance(read[1], FunctionTool) and isinstance(read[2], McpTool)
    webhook = read[1].webhook
    assert (webhook.method, webhook.timeout_s, webhook.retries, webhook.when) == ("POST", 10, 1, "now")
    assert (webhook.send, webhook.max_result_bytes, webhook.idempotent, webhook.after_call) == (
        (),
        10_000,
        False,
        False,
    )
    assert read[2].require_approval == "never"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("fly", "there is no built-in tool 'fly': use hang_up or transfer or"),
        ({"name": "x"}, "a tool of your own needs `type: function` or `type: mcp`"),
        ({"type": "webhook"}, "a tool of your own needs `type: function` or `type: mcp`"),
        ({"type": ["mcp"]}, "a tool of your own needs `type: function` or `type: mcp`"),
        (5, "there is no built-in tool 5"),
        ({"type": "function", "name": "x"}, "Field required"),
        (own("a b"), "use 1 to 64 of A-Z a-z 0-9 _ -"),
        (own("x" * 65), "use 1 to 64 of"),
        (own(""), "use 1 to 64 of"),
        (own("x\n"), "use 1 to 64 of"),
        (own(url="ftp://x/"), "write it as https://HOST/path"),
        (own(url="https:///x"), "write it as https://HOST/path"),
        (own(url="https://x:0/"), "write it as https://HOST/path"),
        (own(url="https://x:99999/"), "write it as https://HOST/path"),
        (own(url="https://x/ y"), "write it as https://HOST/path"),
        (own(url="https://x/#y"), "write it as https://HOST/path"),
        (own(url="https://u:hush@x/"), "url: no user and password in it"),
        (own(secret="short"), "secret: use 16 characters or more"),
        (own(headers={"Content-Length": "5"}), "headers: 'Content-Length' cannot be set"),
        (own(headers={"X-Sipbridge-Signature": "5"}), "headers: 'X-Sipbridge-Signature' cannot be set"),
        (own(headers={"A b": "5"}), "headers: 'A b' cannot be set"),
        (own(headers={"X-A": "hush\r\nX-B: y"}), "headers: X-A: use printable ASCII"),
        (own(filler={"after_s": 1}), "name what the caller shall hear: `say`, or `sound`"),
        (own(filler={"sound": "noise"}), "Input should be 'tone' or 'music'"),
        (own(send=["password"]), "Input should be 'caller'"),
        (own(method="GET"), "Input should be 'POST', 'PUT' or 'PATCH'"),
        (own(timeout_s=0), "greater than 0"),
        (own(retries=6), "less than or equal to 5"),
        (own(max_result_bytes=5), "greater than or equal to 100"),
        (MCP, "needs one of `server_url`, `connector_id`, `tunnel_id`"),
        (MCP | {"server_url": "https://x/", "tunnel_id": "t"}, "needs one of"),
        (MCP | {"server_url": "https://x/", "require_approval": "always"}, "Input should be 'never'"),
        (MCP | {"server_url": "https://x/", "require_approval": {"never": {}}}, "Input should be 'never'"),
        (MCP | {"server_label": "a b", "server_url": "https://x/"}, "use 1 to 64 of"),
    ],
)
def test_a_fault_says_what_would_be_right(written: Any, expected: str) -> None:
    said, _ = fault(written)
    assert expected in said and "hush" not in said


def test_the_place_of_a_fault_is_that_of_the_file_but_for_the_tags() -> None:
    _, place = fault("hang_up", own(timeout_s=0))
    assert tuple(part for part in place if part not in TOOL_TAGS) == (1, "webhook", "timeout_s")


def test_a_fault_of_a_section_repeats_nothing_of_it() -> None:
    """The text of a fault shows the value it stands at, unless that is a section (`settings`)."""
    for written in (own(secret="hush"), own(url="https://u:hush@x/"), own(headers={"X-A": "hush\n"})):
        with pytest.raises(ValidationError) as caught:
            tools(written)
        assert isinstance(caught.value.errors()[0]["input"], dict)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"type": "objekt"}, "type: 'objekt' is not valid under any of the given schemas"),
        ({"type": "object", "required": "city"}, "required: 'city' is not of type 'array'"),
        ({"type": "object", "properties": {"a": {"type": "number", "minimum": "1"}}}, "properties.a.minimum: '1' is"),
        ({"type": "array"}, "must be of `type: object`"),
        ({}, "must be of `type: object`"),
    ],
)
def test_a_schema_that_is_none_stops_the_start(parameters: dict[str, Any], expected: str) -> None:
    said, place = fault(own(parameters=parameters))
    assert expected in said and place[-1] == "parameters"


def test_a_name_can_be_used_once() -> None:
    for written in (("hang_up", "hang_up"), (own(), own()), ("hold", own("hold"))):
        with pytest.raises(ValueError, match="two tools have the name"):
            each_once(tools(*written))
    with pytest.raises(ValueError, match="'shop'"):
        each_once(tools(MCP | {"server_url": "https://x/"}, own("shop")))
    each_once(tools("hang_up", own(), MCP | {"server_url": "https://x/"}))


def test_the_documented_tools_are_taken() -> None:
    document = Path(__file__).parent.parent.parent / "docs" / "tools.md"
    found = re.findall(r"^```yaml\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)
    assert len(found) == 2
    for text in found:
        written = text.replace("${WEBHOOK_SECRET}", "sixteen characters")
        (agent,) = yaml.safe_load(written)["agents"].values()
        each_once(tools(*agent["tools"]))


@pytest.mark.parametrize("provider", [*TAKES, "wss://compatible.example/v1/realtime"])
def test_who_takes_no_mcp_says_so_at_the_start(provider: str) -> None:
    assert why_not(provider, tools("hang_up", own())) == ""
    takes = provider in ("openai", "azure") or provider.startswith("wss:")
    assert (why_not(provider, tools(MCP | {"server_url": "https://mcp.example/"})) == "") == takes
    if not takes:
        assert why_not(provider, tools(MCP | {"server_url": "https://mcp.example/"})).startswith(
            f"tools: shop: {provider} takes no tools of `type: mcp`"
        )
