"""The digest server's memory: bounded, and never the way to a replay."""

from __future__ import annotations

import pytest

from bridge.sip.nonces import Failures, Nonces

HOST = "192.0.2.1"


def test_a_nonce_is_taken_in_rising_order() -> None:
    nonces = Nonces()
    nonce = nonces.issue(1000.0, HOST)
    taken = [nonces.take(nonce, count, bytes([count]), 1001.0, HOST) for count in (1, 2, 7, 5, 8)]
    assert taken == [True, True, True, False, True]


@pytest.mark.parametrize(("age", "fits"), [(0.0, True), (299.0, True), (301.0, False)])
def test_a_nonce_has_its_time(age: float, fits: bool) -> None:
    nonces = Nonces()
    assert nonces.take(nonces.issue(1000.0, HOST), 1, b"", 1000.0 + age, HOST) is fits


@pytest.mark.parametrize(
    "spoil", [lambda text: "", lambda text: "f" + text[1:], lambda text: text[:-1], lambda text: text + "0"]
)
def test_a_spoiled_nonce_is_not_ours(spoil: object) -> None:
    nonces = Nonces()
    nonce = nonces.issue(1000.0, HOST)
    assert not nonces.take(spoil(nonce), 1, b"", 1000.0, HOST)  # type: ignore[operator]
    assert nonces.take(nonce, 1, b"", 1000.0, HOST)


def test_a_shared_secret_makes_shared_nonces() -> None:
    one, other, stranger = Nonces(secret=b"a"), Nonces(secret=b"a"), Nonces(secret=b"b")
    assert other.take(one.issue(1.0, HOST), 1, b"", 1.0, HOST)
    assert not stranger.take(one.issue(1.0, HOST), 1, b"", 1.0, HOST)


def test_a_nonce_is_for_the_host_that_fetched_it() -> None:
    nonces = Nonces()
    nonce = nonces.issue(1000.0, HOST)
    assert nonces.is_good(nonce, 1000.0, HOST)
    assert not nonces.is_good(nonce, 1000.0, "192.0.2.2")
    assert not nonces.take(nonce, 1, b"", 1000.0, "192.0.2.2")
    assert nonces.take(nonce, 1, b"", 1000.0, HOST)


def test_given_out_costs_nothing_and_used_ones_are_forgotten_in_time() -> None:
    nonces = Nonces()
    given = [nonces.issue(1000.0, HOST) for _ in range(100)]
    assert len(set(given)) == 100
    assert len(nonces) == 0
    assert all(nonces.take(nonce, 1, b"", 1000.0, HOST) for nonce in given)
    assert len(nonces) == 100
    assert nonces.take(nonces.issue(1301.0, HOST), 1, b"", 1301.0, HOST)
    assert len(nonces) == 1


def test_a_forgotten_nonce_cannot_be_replayed() -> None:
    nonces = Nonces(limit=2)
    first = nonces.issue(1000.0, HOST)
    given = [first, *(nonces.issue(1001.0 + number, HOST) for number in range(3))]
    assert [nonces.take(nonce, 1, b"a", 1005.0, HOST) for nonce in given] == [True] * 4
    assert len(nonces) == 2
    assert not nonces.take(first, 2, b"b", 1005.0, HOST)
    assert not nonces.is_good(first, 1005.0, HOST)
    assert nonces.take(given[-1], 2, b"b", 1005.0, HOST)


def test_failures_are_counted_by_source_and_window() -> None:
    failures = Failures(limit=2, window_s=60.0)
    for _ in range(2):
        assert not failures.wait_s("192.0.2.1", "u", 0.0)
        failures.add("192.0.2.1", "u", 0.0)
    assert failures.wait_s("192.0.2.1", "u", 59.9)
    assert not failures.wait_s("192.0.2.2", "u", 59.9)
    assert not failures.wait_s("192.0.2.1", "u", 60.0)
    failures.add("192.0.2.1", "u", 60.0)
    assert not failures.wait_s("192.0.2.1", "u", 60.0)
    failures.add("192.0.2.1", "u", 119.0)
    assert failures.wait_s("192.0.2.1", "u", 119.0)


def test_an_ipv6_network_is_one_source() -> None:
    failures = Failures(limit=2)
    failures.add("2001:db8::1", "u", 0.0)
    failures.add("2001:db8:0:0:ffff::2%eth0", "u", 0.0)
    assert failures.wait_s("2001:db8::3", "u", 0.0)
    assert not failures.wait_s("2001:db8:0:1::3", "u", 0.0)
    failures.add("not an address", "u", 0.0)


def test_one_user_s_failures_do_not_lock_out_another_but_many_users_do() -> None:
    failures = Failures(limit=2, window_s=60.0)
    for _ in range(2):
        failures.add("192.0.2.1", "mistyped", 0.0)
    assert failures.wait_s("192.0.2.1", "mistyped", 10.0) == 50.0
    assert failures.wait_s("192.0.2.1", "good", 10.0) == 0
    for number in range(18):
        failures.add("192.0.2.1", f"guess{number}", 20.0)
    assert failures.wait_s("192.0.2.1", "good", 30.0) == 30.0


def test_the_table_of_failures_is_bounded() -> None:
    failures = Failures(limit=1, hosts=6)
    for number in range(10):
        failures.add(f"192.0.2.{number}", "u", 0.0)
    assert len(failures) == 6
    waits = [failures.wait_s(f"192.0.2.{number}", "u", 0.0) > 0 for number in (0, 6, 7, 9)]
    assert waits == [False, False, True, True]
