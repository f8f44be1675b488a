"""Who may call, and how much is taken on."""

from __future__ import annotations

import pytest

from bridge.admission import Admission
from bridge.config import Config
from bridge.records import Refusal
from bridge.routing import agent_for


def config(**sections: object) -> Config:
    return Config.model_validate(sections)


def test_without_trunks_everybody_may_call() -> None:
    assert Admission(config()).judge("203.0.113.9", 0, 1.0) == ("", None)


def test_with_trunks_only_their_networks_may() -> None:
    admission = Admission(
        config(trunks={"pbx": {"peers": ["10.0.0.0/8", "192.0.2.7"]}, "v6": {"peers": ["2001:db8::/32"]}})
    )
    assert admission.judge("10.9.8.7", 0, 1.0) == ("pbx", None)
    assert admission.judge("192.0.2.7", 0, 1.0) == ("pbx", None)
    assert admission.judge("2001:db8::1", 0, 1.0) == ("v6", None)
    assert admission.judge("192.0.2.8", 0, 1.0) == ("", Refusal.STRANGER)
    assert admission.judge("not an address", 0, 1.0) == ("", Refusal.STRANGER)


def test_no_more_calls_than_the_limit() -> None:
    admission = Admission(config(limits={"calls": 2}))
    assert admission.judge("10.0.0.1", 1, 1.0)[1] is None
    assert admission.judge("10.0.0.1", 2, 1.0)[1] is Refusal.FULL
    assert admission.closed(2) == "too_many_calls"


def test_no_calls_while_draining() -> None:
    admission = Admission(config())
    admission.draining = True
    assert admission.judge("10.0.0.1", 0, 1.0)[1] is Refusal.DRAINING
    assert admission.closed(0) == "draining"


def test_calls_per_second_are_a_rate_with_one_seconds_burst() -> None:
    admission = Admission(config(limits={"calls_per_second": 2}))
    judged = [admission.judge("10.0.0.1", 0, now)[1] for now in (10.0, 10.0, 10.0, 10.25, 10.5, 10.6)]
    assert judged == [None, None, Refusal.TOO_FAST, Refusal.TOO_FAST, None, Refusal.TOO_FAST]


@pytest.mark.parametrize(
    ("dialled", "agent"), [("600", "desk"), ("6001", "sales"), ("60", None), ("", None), ("7*", "star")]
)
def test_the_first_route_that_fits_wins(dialled: str, agent: str | None) -> None:
    routes = [{"to": "600", "agent": "desk"}, {"to": "600?", "agent": "sales"}, {"to": "7[*]", "agent": "star"}]
    settings = config(agents={"desk": {}, "sales": {}, "star": {}}, routes=routes)
    assert agent_for(settings, dialled) == agent


def test_without_routes_the_first_agent_answers() -> None:
    assert agent_for(config(agents={"a": {}, "b": {}}), "anything") == "a"
