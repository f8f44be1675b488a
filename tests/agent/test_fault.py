"""How often a server is asked again."""

from __future__ import annotations

import pytest

from bridge.agent.fault import Fault, Patience, of_status


def limited(seconds: str | None) -> Fault:
    return of_status(429, seconds, False)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("2", 2), ("0.5", 0.5), ("0", 0), (None, None), ("soon", None), ("-1", None), ("nan", None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)  # fmt: skip
def test_the_wait_that_a_server_asks_for(given: str | None, wanted: float | None) -> None:
    assert limited(given).retry_after_s == wanted


@pytest.mark.parametrize("given", ["6", "1e9", "inf"])
def test_a_caller_does_not_wait_long(given: str) -> None:
    assert Patience().pause(limited(given)) is None


def test_all_waits_together_are_bounded() -> None:
    patience = Patience()
    assert [patience.pause(limited("3")), patience.pause(limited("3"))] == [3, None]
    patience = Patience()
    assert [patience.pause(limited("1")) for _ in range(3)] == [1, 1, None]


def test_without_a_time_it_waits_a_second() -> None:
    assert Patience().pause(limited(None)) == 1


def test_a_broken_server_is_asked_once_more() -> None:
    patience, broken = Patience(), of_status(500, None, False)
    first = patience.pause(broken)
    assert first is not None and first < 0.5
    assert patience.pause(broken) is None
    assert patience.pause(limited("1")) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 422])
def test_what_will_not_change_is_not_asked_again(status: int) -> None:
    assert Patience().pause(of_status(status, "1", False)) is None


def test_an_empty_account_is_not_asked_again() -> None:
    fault = of_status(429, "1", True)
    assert (fault.code, Patience().pause(fault)) == ("insufficient_quota", None)
