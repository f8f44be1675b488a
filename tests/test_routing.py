"""From an INVITE to the agent, and what is told of the call."""

from __future__ import annotations

import pytest

from bridge.config import Config
from bridge.records import Origin
from bridge.routing import Choice, Router, origin_of
from bridge.sip.gate import Admitted
from bridge.sip.identity import Identity
from bridge.sip.message import Request, parse
from tests.sip.stack import invite


def message(*lines: str, uri: str = "sip:600@192.0.2.10") -> Request:
    parsed = parse(invite(extra="".join(f"{line}\r\n" for line in lines), uri=uri).encode())
    assert isinstance(parsed, Request)
    return parsed


def chosen(
    routes: list[dict[str, object]], *lines: str, trunk: str = "", uri: str = "sip:600@192.0.2.10"
) -> int | None:
    """The number of the route that takes the call."""
    config = Config.model_validate(
        {
            "agents": {"a": {}},
            "trunks": {"pbx": {}, "other": {}},
            "routes": [{"agent": "a", **route} for route in routes],
        }
    )
    asked = message(*lines, uri=uri)
    choice = Router(config).choose(Identity.of(asked, trusted=True), trunk, asked.lines)
    return choice.rule if choice else None


@pytest.mark.parametrize(("dialled", "rule"), [("600", 1), ("6001", 2), ("60", None), ("", None), ("7*", 3)])
def test_the_first_route_that_fits_wins(dialled: str, rule: int | None) -> None:
    routes: list[dict[str, object]] = [{"to": "600"}, {"to": "600?"}, {"to": "7[*]"}, {"to": "600"}]
    uri = f"sip:{dialled}@192.0.2.10" if dialled else "sip:192.0.2.10"
    assert chosen(routes, uri=uri) == rule


def test_without_routes_the_first_agent_answers() -> None:
    asked = message()
    choice = Router(Config.model_validate({"agents": {"b": {}, "a": {}}})).choose(Identity.of(asked), "", asked.lines)
    assert choice == Choice("b", None, "there are no routes: the first agent answers")


@pytest.mark.parametrize(
    ("route", "line", "fits"),
    [
        ({"from": "+49*"}, "P-Asserted-Identity: <tel:+49-30>", True),
        ({"from": "+49*"}, "P-Asserted-Identity: <tel:+44-20>", False),
        ({"from": "alice"}, "X-A: b", True),
        ({"from": "*@192.0.2.1"}, "X-A: b", True),
        ({"from": "*@192.0.2.2"}, "X-A: b", False),
        ({"to_header": "600@*"}, "X-A: b", True),
        ({"to_header": "sales@*"}, "X-A: b", False),
        ({"diverted_from": "2??"}, "Diversion: <sip:200@p>", True),
        ({"diverted_from": "200"}, "Diversion: <sip:201@p>, <sip:200@p>", False),
        ({"diverted_from": "*"}, "X-A: b", True),
        ({"diverted_from": "?*"}, "X-A: b", False),
        ({"header": {"x-queue": "vip*"}}, "X-Queue: vip 1", True),
        ({"header": {"X-Queue": "vip*"}}, "X-Queue: slow\r\nX-Queue: vip", True),
        ({"header": {"X-Queue": "vip*"}}, "X-Queue: slow", False),
        ({"header": {"X-Queue": "*"}}, "X-Other: slow", False),
        ({"header": {"X-A": "1", "X-B": "2"}}, "X-A: 1\r\nX-B: 2", True),
        ({"header": {"X-A": "1", "X-B": "2"}}, "X-A: 1", False),
        ({"to": r"/^6\d\d$/"}, "X-A: b", True),
        ({"to": r"/^7\d\d$/"}, "X-A: b", False),
        ({"to": "600", "from": "bob"}, "X-A: b", False),
        ({}, "X-A: b", True),
    ],
)
def test_each_condition_and_all_of_them_together(route: dict[str, object], line: str, fits: bool) -> None:
    assert (chosen([route], line) is not None) is fits


def test_the_trunk_decides() -> None:
    assert chosen([{"trunk": "pbx"}, {"trunk": "other"}], trunk="other") == 2
    assert chosen([{"trunk": "pbx"}], trunk="") is None


def test_the_choice_says_why() -> None:
    config = Config.model_validate({"agents": {"a": {}}, "routes": [{"to": "600", "from": "al*", "agent": "a"}]})
    asked = message()
    choice = Router(config).choose(Identity.of(asked), "", asked.lines)
    assert choice is not None and choice.why == "to 600 fits '600', from al* fits 'alice'"


# What is told


def origin(*lines: str, names: tuple[str, ...] = ("X-Customer", "X-Queue"), user: str = "") -> Origin:
    asked = message(*lines)
    return origin_of(Identity.of(asked, trusted=True), Admitted("pbx", user), Choice("a", 2, ""), asked, names)


def test_only_the_headers_that_were_chosen_are_told() -> None:
    told = origin("X-Customer:  77\r\n 78", "X-Secret: s", "x-queue: vip")
    assert told.headers == {"X-Customer": "77 78", "X-Queue": "vip"}


def test_a_long_header_is_cut() -> None:
    assert len(origin(f"X-Queue: {'x' * 9000}").headers["X-Queue"]) == 512


def test_numbers_are_logged_only_when_asked_for() -> None:
    told = origin("X-Queue: vip", "Diversion: <sip:200@p>", user="ada")
    quiet = {"trunk": "pbx", "user": "ada", "route": 2, "headers": {"X-Queue": "vip"}}
    assert told.logged(callers=False) == quiet
    numbers = {"caller": "alice", "called": "600", "diverted_from": "200"}
    assert told.logged(callers=True) == quiet | numbers


def test_a_withheld_caller_is_anonymous_everywhere() -> None:
    told = origin("Privacy: id", "P-Asserted-Identity: Ada <sip:77@p>")
    assert told.variables()["caller"] == told.logged(callers=True)["caller"] == "anonymous"
    assert told.variables()["caller_name"] == ""
