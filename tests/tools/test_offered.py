"""From configured tools to what the model sees, provider by provider."""

from __future__ import annotations

from typing import Any

from bridge.tools.offered import Offered, secrets
from tests.realtime_events import problems
from tests.tools.wooden import ALL, own, tools

SHOP: dict[str, Any] = {
    "type": "mcp",
    "server_label": "shop",
    "server_url": "https://mcp.example/sse",
    "authorization": "token-123",
    "headers": {"X-Tenant": "7"},
    "allowed_tools": ["stock_level"],
}


def test_the_model_sees_name_words_and_schema_and_nothing_of_the_webhook() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    (seen,) = Offered(tools(own(parameters=schema, secret="sixteen characters") | {"description": "Look."})).definitions
    assert seen == {"type": "function", "name": "lookup", "description": "Look.", "parameters": schema}


def test_all_of_it_is_what_the_published_types_know() -> None:
    offered = Offered(tools(*ALL, own(), SHOP), ["desk"])
    session = {"type": "realtime", "tools": list(offered.definitions)}
    assert problems({"type": "session.update", "session": session}, "client") == []
    assert [seen.get("name", seen.get("server_label")) for seen in offered.definitions] == [*ALL, "lookup", "shop"]


def test_an_mcp_server_is_passed_on_with_its_secrets_and_asks_nobody() -> None:
    (seen,) = Offered(tools(SHOP)).definitions
    assert seen == SHOP | {"require_approval": "never"}


def test_what_is_found_by_name_is_what_was_offered() -> None:
    offered = Offered(tools("hang_up", "transfer", own(), SHOP))
    lookup, hang_up = offered.find("lookup"), offered.find("hang_up")
    assert lookup is not None and lookup.webhook is not None and hang_up is not None and hang_up.webhook is None
    assert offered.find("shop") is None and offered.find("") is None
    assert offered.find("transfer") is None and offered.missing == ["transfer"], "there is nobody to transfer to"
    assert Offered(tools("transfer"), ["desk"]).missing == []


def test_a_tool_of_the_application_may_take_the_name_of_one_that_is_built_in() -> None:
    transfer = Offered(tools(own("transfer"))).find("transfer")
    assert transfer is not None and transfer.webhook is not None


def test_every_secret_of_the_tools_is_known_to_the_log() -> None:
    written = tools("hang_up", own(secret="sixteen characters", headers={"X-A": "one", "X-B": "two"}), own("b"), SHOP)
    assert secrets(written) == ["sixteen characters", "one", "two", "token-123", "7"]
