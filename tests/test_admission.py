"""Who may call, and how much is taken on: every refusal with its one word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.admission import PEER_REQUEST_BURST, REQUEST_BURST, Admission, is_scanner
from bridge.config import Config
from bridge.pressure import Pressure
from bridge.records import Refusal
from bridge.sip.digest import Authenticator, Credentials
from bridge.sip.errors import SipError
from bridge.sip.gate import Admitted, Silence, Verdict
from bridge.sip.message import Request, Response, parse
from bridge.spending import HOUR_S, Spending
from tests.sip.stack import request

PEER, STRANGER = "10.0.0.1", "203.0.113.9"


class Desk:
    """An admission with a clock by hand, and what it told of refusals."""

    pressure: Pressure | None = None

    def __init__(self, **sections: object) -> None:
        self.now = 100.0
        self.told: list[Refusal] = []
        config = Config.model_validate(sections)
        self.spending = Spending(config.limits.spend, lambda: self.now)
        self.admission = Admission(
            config,
            clock=lambda: self.now,
            on_refused=lambda refusal, request, source: self.told.append(refusal),
            spending=self.spending,
            pressure=self.pressure,
        )

    def judge(self, host: str = PEER, method: str = "INVITE", extra: str = "") -> Verdict:
        return self.admission.judge(message(method, extra), (host, 5060), "UDP")

    def word(self, host: str = PEER, method: str = "INVITE", extra: str = "") -> str:
        """The refusal's word, "" for what is let in."""
        verdict = self.judge(host, method, extra)
        return "" if isinstance(verdict, Admitted) else verdict.reason

    def call(self, host: str = PEER) -> str:
        """Like `word`, and the call goes on when it is let in."""
        verdict = self.judge(host)
        if not isinstance(verdict, Admitted):
            return verdict.reason
        self.admission.entered(verdict.trunk, host)
        return ""

    def with_password(
        self, user: str, password: str, host: str = STRANGER, method: str = "INVITE", uri: str = ""
    ) -> Verdict:
        """Answer the challenge."""
        challenge = self.judge(host, method)
        assert isinstance(challenge, SipError)
        answer = message(method).response(challenge.status, headers=challenge.headers)
        assert isinstance(answer, Response)
        phone = Authenticator([Credentials(user, password)])
        assert phone.challenged(answer)
        lines = phone.authorize(method, uri or str(message().uri), b"")
        return self.judge(host, method, extra="".join(f"{name}: {value}\r\n" for name, value in lines))


def message(method: str = "INVITE", extra: str = "") -> Request:
    parsed = parse(request(method, extra=extra).encode())
    assert isinstance(parsed, Request)
    return parsed


# Who


def test_without_trunks_private_networks_are_let_in_and_others_hear_nothing() -> None:
    desk = Desk()
    assert desk.judge() == Admitted("", trusted=True)
    assert desk.judge(STRANGER) == Silence("not_a_peer")
    assert desk.told == [Refusal.STRANGER]


def test_a_peer_is_on_its_trunk() -> None:
    desk = Desk(trunks={"pbx": {"peers": ["192.0.2.0/24"]}})
    assert desk.judge("192.0.2.7") == Admitted("pbx", trusted=True)
    assert desk.judge(PEER) == Silence("not_a_peer")


@pytest.mark.parametrize("method", ["OPTIONS", "REGISTER", "MESSAGE", "SUBSCRIBE", "BYE", "NOTIFY"])
def test_no_request_of_a_stranger_is_answered(method: str) -> None:
    assert Desk().judge(STRANGER, method) == Silence("not_a_peer")
    desk = Desk(trunks={"pbx": {"users": {"ada": {"password": "x"}}}})
    assert desk.judge(STRANGER, method) == Silence("not_a_peer"), "a password is for calls"


def test_a_malformed_message_is_answered_only_to_peers() -> None:
    assert Desk().admission.answers(PEER) and not Desk().admission.answers(STRANGER)


@pytest.mark.parametrize(
    "extra",
    [
        "User-Agent: friendly-scanner\r\n",
        "User-Agent: sipcli/v1.8\r\n",
        "User-Agent: VaxSIPUserAgent/3.1\r\n",
        "User-Agent: pplsip\r\n",
        "User-Agent: sundayddr\r\n",
        "User-Agent: sip-scan\r\n",
        "User-Agent: SIPVicious\r\n",
        "User-Agent: Mozilla masscan/1.3\r\n",
        "User-Agent: Gulp\r\n",
        "User-Agent: smap 0.6.0\r\n",
        "User-Agent: iWar\r\n",
    ],
)
def test_scanners_hear_nothing_even_from_a_peers_network(extra: str) -> None:
    desk = Desk()
    assert desk.judge(extra=extra) == Silence("scanner")
    assert desk.judge(method="OPTIONS", extra=extra) == Silence("scanner")
    assert desk.told == [Refusal.SCANNER] * 2


@pytest.mark.parametrize(
    ("sender", "scanner"),
    [
        ('"sipvicious"<sip:100@1.1.1.1>', True),
        ("<sip:nm@nm>", True),
        ("<sip:nm@nm.example>", False),
        ("<sip:jim.nm@nmobile.example>", False),
        ('"Sip Scan" <sip:1@p>', False),
    ],
)
def test_some_scanners_are_known_by_from(sender: str, scanner: bool) -> None:
    parsed = parse(request("OPTIONS").replace("<sip:alice@192.0.2.1>", sender).encode())
    assert isinstance(parsed, Request) and is_scanner(parsed) is scanner


@pytest.mark.parametrize("agent", ["baresip v1.0", "Asterisk PBX 20", "sipv6phone", "Gulper", "smapper", "SIPp"])
def test_phones_are_no_scanners(agent: str) -> None:
    assert not is_scanner(message(extra=f"User-Agent: {agent}\r\n"))


# Passwords


USERS = {"pbx": {"peers": ["192.0.2.0/24"], "users": {"700": {"password": "geheim"}}}}


def test_a_stranger_with_the_password_is_on_the_users_trunk() -> None:
    desk = Desk(trunks=USERS)
    assert desk.with_password("700", "geheim") == Admitted("pbx", "700", trusted=False)
    assert desk.told == [], "a challenge is no refusal"


def test_a_user_of_the_registrar_may_call_from_anywhere() -> None:
    desk = Desk(trunks=USERS, registrar={"users": {"alice": {"password": "hush"}}})
    assert desk.with_password("alice", "hush") == Admitted("", "alice")


def test_the_wrong_password_is_one_refusal_and_a_new_challenge() -> None:
    desk = Desk(trunks=USERS)
    verdict = desk.with_password("700", "wrong")
    assert isinstance(verdict, SipError) and verdict.status == 401
    assert ("Warning", '399 sipbridge "wrong_credentials"') in verdict.headers
    assert desk.told == [Refusal.WRONG_CREDENTIALS]


@pytest.mark.parametrize(
    ("status", "phrase", "refusal"),
    [
        (403, "Not Your Address Of Record", Refusal.WRONG_USER),
        (403, "Too Many Contacts", Refusal.TOO_MANY_CONTACTS),
    ],
)
def test_what_the_registrar_refuses_has_its_word(status: int, phrase: str, refusal: Refusal) -> None:
    desk = Desk()
    error = SipError(status, phrase, reason=refusal.word, headers=(("X", "y"),))
    answer = desk.admission.refused(message("REGISTER"), (PEER, 5060), error)
    assert (answer.status, answer.phrase, answer.reason) == (status, phrase, refusal.word)
    assert answer.headers == (("X", "y"), ("Warning", f'399 sipbridge "{refusal.word}"'))
    assert (desk.told, refusal.status) == ([refusal], status)


@pytest.mark.parametrize("reason", ["challenged", "stale_nonce", "interval_too_brief", "malformed"])
def test_what_is_asked_for_is_no_refusal(reason: str) -> None:
    desk = Desk()
    error = SipError(401, reason=reason)
    assert desk.admission.refused(message("REGISTER"), (PEER, 5060), error) is error
    assert desk.told == []


def test_a_digest_for_another_target_has_its_word() -> None:
    desk = Desk(trunks=USERS)
    verdict = desk.with_password("700", "geheim", uri="sip:elsewhere@192.0.2.99")
    assert isinstance(verdict, SipError)
    assert (verdict.status, verdict.phrase) == (400, "Digest URI Does Not Match")
    assert verdict.headers == (("Warning", '399 sipbridge "digest_uri"'),)
    assert desk.told == [Refusal.DIGEST_URI]


def test_guessing_passwords_locks_the_source_out() -> None:
    desk = Desk(trunks=USERS)
    for _ in range(10):
        desk.with_password("700", "wrong")
        desk.now += 1
    verdict = desk.with_password("700", "wrong")
    assert isinstance(verdict, SipError)
    assert (verdict.status, verdict.reason) == (403, "too_many_auth_failures")
    assert desk.told[-1] is Refusal.TOO_MANY_AUTH_FAILURES
    assert isinstance(challenged := desk.judge(STRANGER), SipError) and challenged.status == 401


def test_a_peer_needs_no_password() -> None:
    assert Desk(trunks=USERS).judge("192.0.2.1") == Admitted("pbx", trusted=True)


def test_challenges_are_not_given_out_without_end() -> None:
    desk = Desk(trunks=USERS)
    words = [desk.word(STRANGER) for _ in range(int(REQUEST_BURST) + 5)]
    assert words == ["challenged"] * int(REQUEST_BURST) + ["too_many_requests"] * 5
    assert desk.word("203.0.113.10") == "challenged", "others are not held up"
    assert desk.judge("192.0.2.1") == Admitted("pbx", trusted=True)


@pytest.mark.parametrize("host", [PEER, STRANGER])
def test_everybody_who_registers_shows_a_password(host: str) -> None:
    desk = Desk(registrar={"users": {"alice": {"password": "hush"}}})
    assert desk.with_password("alice", "hush", host, "REGISTER") == Admitted("", "alice")
    assert desk.told == []
    verdict = desk.with_password("alice", "wrong", host, "REGISTER")
    assert isinstance(verdict, SipError) and verdict.reason == "wrong_credentials"
    assert desk.told == [Refusal.WRONG_CREDENTIALS]


def test_without_a_registrar_a_peers_register_goes_on_to_its_405() -> None:
    desk = Desk(trunks=USERS)
    assert desk.judge("192.0.2.1", "REGISTER") == Admitted("pbx", trusted=True)


def test_options_of_a_peer_are_answered_but_not_without_end() -> None:
    desk = Desk()
    words = [desk.word(method="OPTIONS") for _ in range(int(PEER_REQUEST_BURST) + 1)]
    assert words == [""] * int(PEER_REQUEST_BURST) + ["too_many_requests"]
    desk.now += 1
    assert desk.word(method="OPTIONS") == ""


# How much


def test_no_calls_while_draining() -> None:
    desk = Desk()
    desk.admission.draining = True
    verdict = desk.judge()
    assert isinstance(verdict, SipError)
    assert verdict.status == 503
    assert verdict.headers == (("Retry-After", "30"), ("Warning", '399 sipbridge "draining"'))
    assert desk.admission.closed() == "draining"
    assert desk.word(method="OPTIONS") == "", "the user agent says 503 itself"


def test_no_more_calls_than_the_limit() -> None:
    desk = Desk(limits={"calls": 2})
    assert [desk.call(), desk.call(), desk.call()] == ["", "", "too_many_calls"]
    assert desk.admission.closed() == "too_many_calls"
    desk.admission.left("", PEER)
    assert (desk.admission.closed(), desk.call()) == ("", "")


def test_no_more_calls_of_a_trunk_than_its_limit() -> None:
    desk = Desk(trunks={"a": {"peers": ["10.0.0.0/8"], "calls": 1}, "b": {"peers": ["192.0.2.0/24"]}})
    assert [desk.call("10.0.0.1"), desk.call("10.0.0.2")] == ["", "too_many_calls_of_trunk"]
    assert desk.call("192.0.2.1") == ""
    desk.admission.left("a", "10.0.0.1")
    assert desk.call("10.0.0.2") == ""


def test_no_more_calls_of_a_source_than_its_limit() -> None:
    desk = Desk(limits={"per_source": {"calls": 1}})
    assert [desk.call("10.0.0.1"), desk.call("10.0.0.1"), desk.call("10.0.0.2")] == ["", "too_many_calls_of_source", ""]
    assert [desk.call("fd00::1"), desk.call("fd00::2")] == ["", "too_many_calls_of_source"], "one network of 64 bits"
    desk.admission.left("", "10.0.0.1")
    assert desk.call("10.0.0.1") == ""


def test_a_trunks_own_limits_take_the_place_of_those_of_a_source() -> None:
    trunk = {"peers": ["10.0.0.0/8"], "calls": 2, "calls_per_second": 2}
    desk = Desk(trunks={"pbx": trunk}, limits={"per_source": {"calls": 1, "calls_per_second": 1}})
    assert [desk.call(), desk.call(), desk.call()] == ["", "", "too_many_calls_of_trunk"]


def test_calls_per_second_of_a_source() -> None:
    desk = Desk(limits={"per_source": {"calls_per_second": 2}})
    assert [desk.word() for _ in range(3)] == ["", "", "too_many_per_second_of_source"]
    assert desk.word("10.0.0.2") == ""
    desk.now += 0.5
    assert [desk.word() for _ in range(2)] == ["", "too_many_per_second_of_source"]


def test_calls_per_second_of_a_trunk() -> None:
    desk = Desk(trunks={"a": {"peers": ["10.0.0.0/8"], "calls_per_second": 1}, "b": {"peers": ["192.0.2.0/24"]}})
    assert [desk.word("10.0.0.1"), desk.word("10.0.0.2")] == ["", "too_many_per_second_of_trunk"]
    assert desk.word("192.0.2.1") == ""


def test_calls_per_second_in_total() -> None:
    desk = Desk(limits={"calls_per_second": 2})
    assert [desk.word(f"10.0.0.{last}") for last in (1, 2, 3)] == ["", "", "too_many_per_second"]


def test_one_source_may_bring_everything_unless_the_configuration_says_less() -> None:
    desk = Desk(limits={"calls": 3, "calls_per_second": 2})
    assert [desk.call(), desk.call(), desk.call()] == ["", "", "too_many_per_second"]
    desk.now += 1
    assert [desk.call(), desk.call()] == ["", "too_many_calls"]


def test_a_refused_call_takes_nothing_of_others() -> None:
    desk = Desk(limits={"calls_per_second": 3, "per_source": {"calls_per_second": 1}})
    for _ in range(10):
        desk.word("10.0.0.1")
    assert [desk.word(f"10.0.0.{last}") for last in (2, 3)] == ["", ""]


def test_the_book_of_calls_is_empty_when_all_have_left() -> None:
    desk = Desk(trunks={"pbx": {"peers": ["10.0.0.0/8"]}})
    for last in range(5):
        desk.call(f"10.0.0.{last}")
    assert desk.admission.calls == 5
    for last in range(5):
        desk.admission.left("pbx", f"10.0.0.{last}")
    assert desk.admission.calls == 0
    assert not desk.admission._of_trunk and not desk.admission._of_source


# Money

SPEND = {"limits": {"spend": {"per_hour": 10}}, "prices": {"models": {"*": {"minute": 1}}}}


def test_an_hour_that_is_spent_closes_the_door_until_enough_has_left_it() -> None:
    desk = Desk(**SPEND)
    desk.spending.add("c1", "+491", 9.9)
    assert desk.word() == "" and desk.admission.closed() == ""
    desk.spending.add("c1", "+491", 0.1)
    verdict = desk.judge()
    assert isinstance(verdict, SipError)
    assert (verdict.status, verdict.reason) == (503, "spend_limit_hour")
    name, wait = verdict.headers[0]
    assert name == "Retry-After" and HOUR_S <= int(wait) <= HOUR_S + 60
    assert desk.told == [Refusal.SPEND_HOUR]
    assert desk.admission.closed() == "spend_limit_hour", "OPTIONS says it too"
    desk.now += int(wait)
    assert desk.word() == "" and desk.admission.closed() == ""


def test_an_hour_that_is_spent_refuses_calls_and_nothing_else() -> None:
    desk = Desk(**SPEND)
    desk.spending.add("c1", "+491", 10)
    assert desk.word(method="OPTIONS") == ""
    desk.admission.draining = True
    assert desk.word() == "draining"


# The machine


class Machine(Pressure):
    """One that carries two calls, and no clock."""

    def __init__(self) -> None:
        super().__init__(0.005, lambda: 0, lambda: (0.0, 0.0))
        self.begun = 0

    def let_in(self) -> None:
        self.begun += 1

    def refuses(self, calls: int, now: float) -> bool:
        return calls >= 2


def test_a_machine_that_can_do_no_more_takes_no_calls_and_all_else() -> None:
    class Busy(Desk):
        pressure = machine = Machine()

    desk, machine = Busy(limits={"calls_per_second": 3}), Busy.machine
    assert [desk.call(), desk.call(), desk.call()] == ["", "", "overloaded"]
    assert machine.begun == 2
    verdict = desk.judge()
    assert isinstance(verdict, SipError)
    assert (verdict.status, verdict.headers[0]) == (503, ("Retry-After", "5"))
    assert desk.admission.overloaded and desk.admission.closed() == "overloaded", "OPTIONS says it too"
    assert desk.word(method="OPTIONS") == ""
    desk.admission.left("", PEER)
    assert desk.admission.closed() == "" and desk.word() == "", "those who were refused took no token"


def test_without_a_machine_to_spare_nothing_is_overloaded() -> None:
    assert not Desk().admission.overloaded


def test_every_refusal_says_its_word_once() -> None:
    words = [refusal.word for refusal in Refusal]
    assert len(set(words)) == len(words)
    for refusal in Refusal:
        assert ("Warning", f'399 sipbridge "{refusal.word}"') in refusal.headers
        assert refusal.status != 503 or refusal.headers[0][0] == "Retry-After"


@given(
    st.sampled_from(["User-Agent", "Authorization", "P-Asserted-Identity"]),
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=80)
    | st.text(alphabet='Digest usr="a,=qop', max_size=80),
    st.sampled_from(["INVITE", "REGISTER", "OPTIONS", "MESSAGE"]),
)
def test_any_text_ends_as_a_verdict(name: str, text: str, method: str) -> None:
    desk = Desk(trunks=USERS, registrar={"users": {"alice": {"password": "hush"}}})
    assert isinstance(desk.judge(STRANGER, method, f"{name}: {text}\r\n"), SipError | Silence)
