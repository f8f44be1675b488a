"""Our binding at a registrar, with time by hand: refreshed, refused, failed over, taken back."""

from __future__ import annotations

from random import Random

import pytest

from bridge.sip.digest import Authority
from bridge.sip.registration import MIN_REFRESH_S, MOVES, REFUSED_S, Registration, RegistrationState

from .trunk import Trunk


def test_the_refresh_comes_in_time_in_the_same_order_of_requests() -> None:
    trunk = Trunk.registered()
    first = trunk.last.request
    assert trunk.registration.expires_at == 1300.0
    assert trunk.next_in() == pytest.approx(300 * 0.825, abs=300 * 0.0751)
    trunk.wake()
    second = trunk.last.request
    assert (second.call_id, second.from_.tag) == (first.call_id, first.from_.tag)
    assert second.cseq.number > first.cseq.number
    assert trunk.told == ["registering", "registered"]
    trunk.answer(200)
    assert trunk.registration.expires_at == trunk.ground.now + 300
    assert trunk.told == ["registering", "registered"]


def test_the_jitter_spreads_refreshes() -> None:
    delays = [Trunk.registered(seed=seed).next_in() / 300 for seed in range(50)]
    assert 0.75 <= min(delays) < 0.77
    assert 0.84 < max(delays) <= 260 / 300  # time is left for a second server
    short = [Trunk.registered(seed=seed, expires_s=60).next_in() for seed in range(50)]
    assert 27 <= min(short) < 28 and 29 < max(short) <= 30


@pytest.mark.parametrize(("seconds", "wait"), [(1, 1.0), (2, 1.0), (3, 1.5), (5, 2.5)])
def test_a_tiny_grant_is_refreshed_in_time_and_makes_no_storm(seconds: int, wait: float) -> None:
    trunk = Trunk()
    trunk.answer(200, ("Contact", f"<sip:600@192.0.2.10:5060>;expires={seconds}"), contact=False)
    assert trunk.next_in() == wait
    assert trunk.registration.registered
    trunk.registration.refresh()
    assert trunk.next_in() == wait, "a lost connection does not put the refresh off"


@pytest.mark.parametrize(
    ("contacts", "expires", "kept"),
    [
        (["<sip:600@192.0.2.10:5060>;expires=70"], "90", 70),
        (["<sip:600@192.0.2.10>;expires=70"], "90", 70),
        (["<sip:600@192.0.2.10:5060>"], "90", 90),
        (["<sip:600@192.0.2.10:5060>"], None, 300),
        (["<sip:600@192.0.2.99>;expires=20", "<sip:600@192.0.2.10:5060>;expires=70"], None, 70),
        (["<sip:600@192.0.2.99>;expires=20", "<sip:600@192.0.2.10:5060>"], None, 300),
        (["<sip:600@192.0.2.10:5062>;expires=20", "<sip:600@192.0.2.10:5060>;expires=70"], None, 70),
        (["<sip:6OO@192.0.2.10:5060>;expires=20", "<sip:600@192.0.2.10:5060>;expires=70"], None, 70),
        (["<sip:600@192.0.2.99>;expires=80", "<sip:600@198.51.100.7:1024>;expires=70"], "90", 70),
        (["<sip:600@192.0.2.99>;expires=0", "<sip:600@198.51.100.7:1024>;expires=70"], "90", 70),
        (["<sip:600@192.0.2.99>", "<sip:alice@198.51.100.7>"], "90", 90),
        (["*", "<sip:600@", "<sip:600@192.0.2.10:5060>;expires=70"], None, 70),
        (["<sip:600@192.0.2.10:5060>;expires=9000"], None, 300),
        (["<sip:600@198.51.100.7>;expires=9000"], "9000", 300),
        ([], "9000", 300),
        ([], None, 300),
    ],
)
def test_how_long_the_registrar_keeps_our_own_contact(contacts: list[str], expires: str | None, kept: int) -> None:
    trunk = Trunk()
    headers = [("Contact", text) for text in contacts] + ([("Expires", expires)] if expires else [])
    trunk.answer(200, *headers, contact=False)
    assert trunk.registration.expires_at == trunk.ground.now + kept


def test_the_host_of_our_contact_may_come_back_in_capitals() -> None:
    trunk = Trunk()
    trunk.ground.address = "Bridge.Example:5060"
    trunk.registration.refresh()
    trunk.last.on_failure("timeout")
    trunk.wake()
    listed = ["<sip:600@elsewhere.example>;expires=20", "<sip:600@BRIDGE.example>;expires=70"]
    trunk.answer(200, *(("Contact", text) for text in listed), contact=False)
    assert trunk.registration.expires_at == trunk.ground.now + 70


def test_a_user_of_any_characters_is_escaped_in_every_header() -> None:
    trunk = Trunk(user="sip:us%20er%40home@example.org")
    request = trunk.last.request
    assert request.headers("Contact") == ["<sip:us%20er%40home@192.0.2.10:5060>"]
    assert request.from_.uri.user == "us er@home"
    trunk.answer(200, ("Contact", "<sip:us%20er@192.0.2.10:5060>;expires=20"), ("Expires", "70"))
    assert trunk.registration.expires_at == trunk.ground.now + 70


def test_a_grant_of_nothing_is_a_failure() -> None:
    trunk = Trunk()
    trunk.answer(200, ("Contact", "<sip:600@192.0.2.10:5060>;expires=0"), contact=False)
    assert trunk.told == ["registering", "backing_off"]
    assert not trunk.registration.registered


def test_digest_and_the_nonce_that_is_used_again() -> None:
    trunk = Trunk()
    authority = Authority("example.org", {"600": "secret"}, trunk.ground.clock)

    def judge() -> str:
        verdict = authority.check(trunk.last.request, "192.0.2.10")
        if isinstance(verdict, str):
            trunk.answer(200)
            return verdict
        trunk.answer(verdict.status, *verdict.headers, contact=False)
        return verdict.reason

    assert [judge(), judge()] == ["challenged", "600"]
    assert trunk.last.tries == 2
    trunk.wake()
    assert judge() == "600"
    assert trunk.last.tries == 1
    trunk.wake()
    assert [judge(), judge()] == ["stale_nonce", "600"]
    assert trunk.told == ["registering", "registered"]


def test_a_wrong_password_is_refused_and_tried_slowly() -> None:
    trunk = Trunk()
    challenge = ("WWW-Authenticate", 'Digest realm="r", nonce="n"')
    trunk.answer(401, challenge, contact=False)
    assert trunk.told == ["registering"]
    trunk.answer(401, challenge, contact=False)
    assert trunk.told == ["registering", "refused"]
    assert trunk.details[-1].startswith("sip:600@example.org at sip:pbx.example: 401 ")
    assert trunk.details[-1].endswith("; check user and password; next try in 600 s")
    assert (trunk.registration.last_status, trunk.registration.failures) == (401, 1)
    assert trunk.next_in() == REFUSED_S
    trunk.wake()
    assert trunk.told[-1] == "registering"
    trunk.answer(200)
    assert (trunk.told[-1], trunk.registration.failures) == ("registered", 0)


@pytest.mark.parametrize(
    ("status", "advice"),
    [(403, "user and password"), (404, "knows this user"), (302, "server and user"), (603, "server and user")],
)
def test_other_refusals(status: int, advice: str) -> None:
    trunk = Trunk("sip:a.example", "sip:b.example")
    trunk.answer(status, contact=False)
    assert (trunk.told[-1], trunk.asked) == ("refused", 1)
    assert advice in trunk.details[-1]


def test_a_refused_trunk_may_be_told_to_wait_longer() -> None:
    trunk = Trunk()
    trunk.answer(403, ("Retry-After", "900 (later);duration=5"), contact=False)
    assert trunk.next_in() == 900


def test_an_interval_too_brief_is_made_longer_once() -> None:
    trunk = Trunk(expires_s=60)
    trunk.answer(423, ("Min-Expires", "600"), contact=False)
    assert trunk.last.request.header("Expires") == "600"
    trunk.answer(423, ("Min-Expires", "900"), contact=False)
    assert trunk.told[-1] == "refused"
    trunk.wake()
    assert trunk.last.request.header("Expires") == "600"
    trunk.answer(200)
    assert trunk.registration.expires_at == trunk.ground.now + 600


@pytest.mark.parametrize("least", ["60", "x", "99999999", None])
def test_a_423_that_makes_no_sense_is_a_refusal(least: str | None) -> None:
    trunk = Trunk(expires_s=60)
    trunk.answer(423, *([("Min-Expires", least)] if least else []), contact=False)
    assert (trunk.told[-1], trunk.asked) == ("refused", 1)


def test_the_next_server_is_asked_at_once() -> None:
    trunk = Trunk("sip:a.example", "sip:b.example", "sip:c.example")
    trunk.answer(503, contact=False)
    trunk.last.on_failure("timeout")
    assert [str(one.hop) for one in trunk.ground.deliveries] == ["sip:a.example", "sip:b.example", "sip:c.example"]
    assert trunk.told == ["registering"]
    trunk.answer(200)
    # It stays where it was served, and comes back to the first when that one fails.
    trunk.wake()
    assert str(trunk.last.hop) == "sip:c.example"
    trunk.last.on_failure("transport_error")
    assert str(trunk.last.hop) == "sip:a.example"


def test_it_tells_where_it_is_registered_and_when_that_changes() -> None:
    """Calls come from there: whoever lets them in must know before the first one."""
    trunk = Trunk("sip:a.example", "sip:b.example")
    assert trunk.registration.peer is None
    trunk.answer(200)
    assert trunk.registration.peer == ("a.example", 5060)
    trunk.wake()
    trunk.last.on_failure("transport_error")
    assert trunk.registration.peer == ("a.example", 5060), "the other one has not said yes"
    assert trunk.told == ["registering", "registered"]
    trunk.answer(200)
    assert trunk.registration.peer == ("b.example", 5060)
    assert trunk.told == ["registering", "registered", "registered"]
    assert "at sip:b.example" in trunk.details[-1]


def test_the_back_off_doubles_to_its_roof_with_full_jitter() -> None:
    rounds = 12
    delays: list[list[float]] = [[] for _ in range(rounds)]
    for seed in range(60):
        trunk = Trunk(seed=seed)
        for number in range(rounds):
            trunk.last.on_failure("timeout")
            assert trunk.registration.state is RegistrationState.BACKING_OFF
            delays[number].append(trunk.wake())
        assert trunk.registration.failures == rounds
    for number, seen in enumerate(delays):
        roof = min(300.0, 2.0 * 2**number)
        assert 0.8 * roof < max(seen) <= roof
        assert min(seen) < 0.2 * roof


def test_retry_after_is_obeyed() -> None:
    trunk = Trunk("sip:a.example", "sip:b.example")
    trunk.answer(503, ("Retry-After", "100"), contact=False)
    trunk.answer(503, ("Retry-After", "40"), contact=False)
    assert trunk.next_in() == 40
    trunk.wake()
    assert (str(trunk.last.hop), trunk.asked) == ("sip:b.example", 3)
    trunk.last.on_failure("timeout")
    assert trunk.next_in() <= 4.0, "b.example may be asked again"
    assert trunk.asked == 3, "a.example may not be asked yet"


def test_a_binding_outlives_a_failed_refresh() -> None:
    trunk = Trunk.registered()
    trunk.wake()
    trunk.last.on_failure("timeout")
    assert trunk.told[-1] == "backing_off"
    assert trunk.registration.registered
    trunk.ground.now = 1300.0
    assert not trunk.registration.registered


def test_a_new_address_replaces_the_old_one() -> None:
    trunk = Trunk.registered()
    trunk.ground.address = "192.0.2.77:5060"
    trunk.wake()
    assert trunk.last.request.headers("Contact") == [
        "<sip:600@192.0.2.10:5060>;expires=0",
        "<sip:600@192.0.2.77:5060>",
    ]
    trunk.answer(200, ("Contact", "<sip:600@192.0.2.77:5060>;expires=200"), contact=False)
    trunk.wake()
    assert trunk.last.request.headers("Contact") == ["<sip:600@192.0.2.77:5060>"]


def test_a_lost_connection_refreshes_soon_but_makes_no_storm() -> None:
    trunk = Trunk.registered()
    trunk.advance(10.0)
    trunk.registration.refresh()
    trunk.wake()
    assert (trunk.asked, trunk.ground.now) == (2, 1010.0)
    trunk.registration.refresh()
    trunk.answer(200)
    trunk.registration.refresh()
    trunk.registration.refresh()
    assert trunk.next_in() == MIN_REFRESH_S
    trunk.wake()
    assert trunk.asked == 3
    trunk.last.on_failure("transport_error")
    wait = trunk.next_in()
    trunk.registration.refresh()
    assert trunk.next_in() == wait


def test_late_and_double_news_are_of_the_past() -> None:
    trunk = Trunk()
    first = trunk.last
    trunk.answer(100, contact=False)
    assert trunk.told == ["registering"]
    trunk.answer(200)
    first.answer(403, contact=False)
    first.on_failure("timeout")
    assert trunk.told == ["registering", "registered"]


def test_closing_takes_the_binding_back() -> None:
    trunk = Trunk.registered()
    done: list[float] = []
    trunk.registration.close(lambda: done.append(trunk.ground.now))
    request = trunk.last.request
    assert (request.header("Expires"), request.headers("Contact")) == ("0", ["<sip:600@192.0.2.10:5060>"])
    assert (trunk.told[-1], done) == ("unregistering", [])
    trunk.answer(200, contact=False)
    assert (trunk.told[-1], done) == ("gone", [1000.0])
    assert trunk.ground.alarms.next_deadline is None
    trunk.registration.close(lambda: done.append(0.0))
    trunk.registration.start()
    trunk.registration.refresh()
    assert (trunk.asked, done) == (2, [1000.0])


def test_closing_with_a_new_address_takes_the_old_one_back() -> None:
    trunk = Trunk.registered()
    trunk.ground.address = "192.0.2.77:5060"
    trunk.registration.close()
    assert trunk.last.request.headers("Contact") == ["<sip:600@192.0.2.10:5060>;expires=0"]


def test_closing_waits_no_longer_than_it_was_told() -> None:
    trunk = Trunk.registered()
    done: list[bool] = []
    trunk.registration.close(lambda: done.append(True), wait_s=3.0)
    trunk.advance(2.9)
    assert done == []
    trunk.advance(0.2)
    assert (done, trunk.told[-1]) == ([True], "gone")
    trunk.answer(200)
    trunk.last.on_failure("timeout")
    assert trunk.told[-1] == "gone"


@pytest.mark.parametrize("ending", ["failure", "refusal"])
def test_closing_when_nobody_listens(ending: str) -> None:
    trunk = Trunk.registered()
    done: list[bool] = []
    trunk.registration.close(lambda: done.append(True))
    if ending == "failure":
        trunk.last.on_failure("timeout")
    else:
        trunk.answer(403, contact=False)
    assert (done, trunk.told[-1], trunk.asked) == ([True], "gone", 2)


def test_closing_awaits_the_try_under_way() -> None:
    trunk = Trunk()
    done: list[bool] = []
    trunk.registration.close(lambda: done.append(True))
    assert (trunk.asked, trunk.told[-1]) == (1, "unregistering")
    trunk.answer(200)
    assert trunk.last.request.header("Expires") == "0"
    trunk.answer(200, contact=False)
    assert (done, trunk.asked) == ([True], 2)


def test_closing_after_a_refresh_that_failed_takes_the_older_binding_back() -> None:
    trunk = Trunk.registered()
    trunk.wake()
    trunk.registration.close()
    trunk.last.on_failure("timeout")
    assert (trunk.asked, trunk.last.request.header("Expires")) == (3, "0")


@pytest.mark.parametrize(
    "before", ["idle", "failed", "refused", "refused later", "expired", "refused while it is under way"]
)
def test_closing_what_was_never_registered_sends_nothing(before: str) -> None:
    trunk = Trunk.registered() if before in ("expired", "refused later") else Trunk()
    if before == "idle":
        trunk.registration = Registration(trunk.ground, trunk.registration.binding, Random(1))
        trunk.ground.deliveries.clear()
    elif before == "refused":
        trunk.answer(403, contact=False)
    elif before == "refused later":
        trunk.wake()
        trunk.answer(403, contact=False)
    elif before in ("failed", "expired"):
        if before == "expired":
            trunk.wake()
        trunk.last.on_failure("timeout")
    sent = trunk.asked
    if before == "expired":
        trunk.ground.now += 300.0
    trunk.registration.close()
    if before.endswith("under way"):
        trunk.answer(403, contact=False)
    assert trunk.registration.state is RegistrationState.GONE
    assert trunk.asked == sent
    assert trunk.ground.alarms.next_deadline is None


def test_no_way_leads_out_of_gone_and_every_state_leads_there() -> None:
    assert set(MOVES) == set(RegistrationState)
    assert MOVES[RegistrationState.GONE] == frozenset()
    reached = {RegistrationState.GONE}
    for _ in RegistrationState:
        reached |= {state for state, moves in MOVES.items() if moves & reached}
    assert reached == set(RegistrationState)


def test_a_stray_password_is_never_told() -> None:
    trunk = Trunk()
    for _ in range(2):
        trunk.answer(401, ("WWW-Authenticate", 'Digest realm="r", nonce="n"'), contact=False)
    assert "secret" not in "".join(trunk.details)


def test_a_refresh_goes_first_to_the_server_that_keeps_the_binding() -> None:
    trunk = Trunk()
    trunk.answer(200)
    trunk.wake()
    assert trunk.ground.preferred == [None, trunk.registration.peer]


@pytest.mark.parametrize(("granted", "latest"), [(60, 30.0), (100, 60.0), (300, 260.0)])
def test_a_refresh_leaves_time_for_a_second_server(granted: int, latest: float) -> None:
    for seed in range(20):
        trunk = Trunk(seed=seed, expires_s=granted)
        trunk.answer(200, ("Expires", str(granted)), contact=False)
        assert trunk.next_in() <= latest
