"""The server side of digest: who comes in, and what everybody else learns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.challenge import Authorization, Challenge
from bridge.sip.digest import Authenticator, Authority, Credentials
from bridge.sip.errors import SipError
from bridge.sip.message import Request, Response, parse

from .signed import ALICE, URI, asked, refusal
from .stack import request

HOST, ELSEWHERE = "192.0.2.1", "192.0.2.66"
GUESS = Credentials("alice", "guess")


class Gate:
    """An authority with a clock of its own."""

    def __init__(self, **options: object) -> None:
        self.now = 1000.0
        users = {"alice": "secret", 'o"dd\\ ü': "p:ä"}
        self.authority = Authority("bridge", users, lambda: self.now, **options)  # type: ignore[arg-type]

    def challenges(self, host: str = HOST) -> list[str]:
        return [value for _, value in self.refused(asked(), host).headers]

    def check(self, message: Request, host: str = HOST) -> str:
        """The user, or the reason of the refusal in brackets."""
        found = self.authority.check(message, host)
        return found if isinstance(found, str) else f"({found.reason})"

    def refused(self, message: Request, host: str = HOST) -> SipError:
        found = self.authority.check(message, host)
        assert isinstance(found, SipError)
        return found

    def client(self, credentials: Credentials = ALICE, host: str = HOST) -> Authenticator:
        authenticator = Authenticator([credentials])
        assert authenticator.challenged(refusal(*self.challenges(host)))
        return authenticator

    def wrong(self) -> Request:
        return asked(self.client(GUESS).authorize("REGISTER", URI))


def test_a_stranger_is_challenged_with_sha_first_and_one_nonce() -> None:
    gate = Gate()
    error = gate.refused(asked())
    assert (error.status, error.reason) == (401, "challenged")
    sha, md5 = (Challenge.parse(value)[0] for name, value in error.headers if name == "WWW-Authenticate")
    assert (sha.algorithm, md5.algorithm, sha.nonce) == ("SHA-256", "MD5", md5.nonce)
    assert sha.qop == ("auth", "auth-int")
    assert not sha.stale
    assert gate.challenges() != gate.challenges()


@pytest.mark.parametrize(
    ("agent", "offered"),
    [
        ("baresip v1.0.0 (x86_64/linux)", ["MD5"]),
        ("FreeSWITCH-mod_sofia/1.10.6-release", ["MD5"]),
        ("baresip v3.16.0", ["SHA-256", "MD5"]),
        ("Asterisk PBX 22.6.0", ["SHA-256", "MD5"]),
    ],
)
def test_agents_that_stumble_over_sha_are_spared_it(agent: str, offered: list[str]) -> None:
    message = asked([("User-Agent", agent)])
    found = [Challenge.parse(value)[0].algorithm for _, value in Gate().refused(message).headers]
    assert found == offered
    strict = [
        Challenge.parse(value)[0].algorithm for _, value in Gate(algorithms=("SHA-256",)).refused(message).headers
    ]
    assert strict == ["SHA-256"]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("qop", ["auth", "auth-int", ""])
def test_who_knows_the_password_comes_in(first: int, qop: str) -> None:
    gate = Gate()
    challenge = gate.challenges()[first].replace('qop="auth,auth-int"', f'qop="{qop}"')
    authenticator = Authenticator([ALICE])
    authenticator.challenged(refusal(challenge))
    message = asked(authenticator.authorize("INVITE", URI, b"v=0"), method="INVITE", body="v=0")
    assert gate.check(message) == "alice"


def test_hex_digits_may_be_capitals() -> None:
    gate = Gate()
    ((name, value),) = gate.client().authorize("REGISTER", URI)
    answer = Authorization.parse(value)
    assert answer is not None
    assert gate.check(asked([(name, value.replace(answer.response, answer.response.upper()))])) == "alice"


def test_odd_names_and_passwords_come_in() -> None:
    gate = Gate()
    odd = Credentials('o"dd\\ ü', "p:ä")
    assert gate.check(asked(gate.client(odd).authorize("REGISTER", URI))) == odd.user


def test_the_proxy_flavour() -> None:
    gate = Gate(proxy=True)
    error = gate.refused(asked())
    assert (error.status, {name for name, _ in error.headers}) == (407, {"Proxy-Authenticate"})
    authenticator = Authenticator([ALICE])
    challenges = [value for _, value in error.headers]
    assert authenticator.challenged(refusal(*challenges, status=407, name="Proxy-Authenticate"))
    assert gate.check(asked(authenticator.authorize("REGISTER", URI))) == "alice"


@pytest.mark.parametrize("user", ["alice", "nobody"])
def test_a_wrong_user_looks_like_a_wrong_password(user: str) -> None:
    gate = Gate()
    error = gate.refused(asked(gate.client(Credentials(user, "guess")).authorize("REGISTER", URI)))
    assert (error.status, error.phrase, error.reason) == (401, "Unauthorized", "wrong_credentials")
    assert not Challenge.parse(error.headers[0][1])[0].stale


def test_the_body_counts_with_auth_int() -> None:
    gate = Gate()
    authenticator = Authenticator([ALICE])
    authenticator.challenged(refusal(gate.challenges()[0].replace("auth,auth-int", "auth-int")))
    headers = authenticator.authorize("INVITE", URI, b"v=0")
    assert gate.check(asked(headers, method="INVITE", body="v=1")) == "(wrong_credentials)"


def test_who_knows_the_password_comes_in_with_the_nonce_that_replaces_an_old_one() -> None:
    gate = Gate()
    alice = gate.client()
    gate.now += 300.1
    error = gate.refused(asked(alice.authorize("REGISTER", URI)))
    assert (error.status, error.reason) == (401, "stale_nonce")
    assert alice.challenged(refusal(*(value for _, value in error.headers)))
    assert gate.check(asked(alice.authorize("REGISTER", URI))) == "alice"


def old(gate: Gate, credentials: Credentials) -> Authenticator:
    client = gate.client(credentials)
    gate.now += 300.1
    return client


def fetched_elsewhere(gate: Gate, credentials: Credentials) -> Authenticator:
    return gate.client(credentials, ELSEWHERE)


def of_another_service(_: Gate, credentials: Credentials) -> Authenticator:
    return Gate().client(credentials)


def made_up(_: Gate, credentials: Credentials) -> Authenticator:
    client = Authenticator([credentials])
    client.challenged(refusal('Digest realm="bridge", nonce="ä", qop="auth"'))
    return client


@pytest.mark.parametrize("bring", [old, fetched_elsewhere, of_another_service, made_up])
def test_a_nonce_that_is_not_good_tells_nothing_of_the_password(
    bring: Callable[[Gate, Credentials], Authenticator],
) -> None:
    gate = Gate()
    told = []
    for credentials in (ALICE, GUESS, Credentials("nobody", "guess")):
        error = gate.refused(asked(bring(gate, credentials).authorize("REGISTER", URI)))
        told.append((error.status, error.phrase, error.reason, [name for name, _ in error.headers]))
        assert all(Challenge.parse(value)[0].stale for _, value in error.headers)
    assert told == [(401, "Unauthorized", "stale_nonce", ["WWW-Authenticate"] * 2)] * 3


@pytest.mark.parametrize("bring", [old, fetched_elsewhere, of_another_service, made_up])
def test_a_nonce_that_is_not_good_locks_nobody_out(bring: Callable[[Gate, Credentials], Authenticator]) -> None:
    gate = Gate()
    forged = asked(bring(gate, GUESS).authorize("REGISTER", URI))
    assert {gate.check(forged) for _ in range(200)} == {"(stale_nonce)"}
    assert len(gate.authority.failures) == 0
    assert gate.check(asked(gate.client().authorize("REGISTER", URI))) == "alice"


def test_a_replay_is_refused_and_a_retransmission_is_not() -> None:
    gate = Gate()
    alice = gate.client()
    first, second = (asked(alice.authorize("REGISTER", URI)) for _ in range(2))
    assert [gate.check(first), gate.check(second)] == ["alice", "alice"]
    assert gate.check(first) == "(stale_nonce)"
    assert gate.check(second) == "alice"
    assert gate.check(second, ELSEWHERE) == "(stale_nonce)"
    gate.now += 32.1
    assert gate.check(second) == "(stale_nonce)"


def test_a_nonce_without_a_count_is_good_for_one_request() -> None:
    gate = Gate()
    simple = Authenticator([ALICE])
    simple.challenged(refusal(gate.challenges()[1].replace(', qop="auth,auth-int"', "")))
    first, second = (asked(simple.authorize(method, URI), method=method) for method in ("REGISTER", "OPTIONS"))
    assert [gate.check(first), gate.check(second)] == ["alice", "(stale_nonce)"]


@pytest.mark.parametrize(
    ("claimed", "target", "fits"),
    [
        (URI, URI, True),
        ("sip:600@192.0.2.10:5060;transport=UDP", URI, True),
        ("sip:192.0.2.10;transport=UDP", URI, True),
        ("sip:601@192.0.2.10", URI, False),
        ("sip:600@192.0.2.11", URI, False),
        ("600", URI, False),
        ("tel:600", "tel:601", False),
    ],
)
def test_the_digest_is_for_one_target(claimed: str, target: str, fits: bool) -> None:
    gate = Gate()
    message = asked(gate.client().authorize("INVITE", claimed), method="INVITE", uri=target)
    assert gate.check(message) == ("alice" if fits else "(digest_uri)")


def test_another_realm_or_scheme_is_no_answer_to_us() -> None:
    other = Authenticator([ALICE])
    other.challenged(refusal('Digest realm="elsewhere", nonce="n"'))
    headers = [("Authorization", "Basic QWxhZGRpbg=="), *other.authorize("REGISTER", URI)]
    gate = Gate()
    assert gate.check(asked(headers)) == "(challenged)"
    assert gate.check(asked([*headers, *gate.client().authorize("REGISTER", URI)])) == "alice"


def test_an_algorithm_that_was_not_offered_is_refused() -> None:
    gate = Gate(algorithms=("SHA-256",))
    challenge = gate.challenges()[0]
    for name, outcome in (("MD5", "(wrong_credentials)"), ("SHA-256", "alice")):
        client = Authenticator([ALICE])
        client.challenged(refusal(challenge.replace("SHA-256", name)))
        assert gate.check(asked(client.authorize("REGISTER", URI))) == outcome


def test_malformed_credentials_are_refused() -> None:
    assert Gate().check(asked([("Authorization", 'Digest username="alice"')])) == "(malformed)"


def test_ten_failures_in_a_minute_lock_a_user_of_a_host_out() -> None:
    gate = Gate()
    good = gate.client()
    wrong = [gate.wrong() for _ in range(10)]
    assert {gate.check(message) for message in wrong} == {"(wrong_credentials)"}
    error = gate.refused(asked(good.authorize("REGISTER", URI)))
    assert (error.status, error.reason) == (403, "too_many_auth_failures")
    assert dict(error.headers)["Retry-After"] == "60"
    assert gate.check(asked(gate.client(host=ELSEWHERE).authorize("REGISTER", URI)), ELSEWHERE) == "alice"
    gate.now += 60.0
    assert gate.check(asked(good.authorize("REGISTER", URI))) == "alice"


@given(st.binary(max_size=80), st.sampled_from(["WWW-Authenticate", "Proxy-Authenticate", "Authorization"]))
def test_any_bytes_in_a_message_are_harmless(data: bytes, name: str) -> None:
    line = f"{name}: Digest ".encode() + data.replace(b"\r", b"").replace(b"\n", b"")
    try:
        message = parse(request("REGISTER", extra="X: y\r\n").encode().replace(b"X: y", line))
        assert isinstance(message, Request)
    except SipError:
        return
    Gate().check(message)
    Authenticator([ALICE]).challenged(Response(message.lines, b"", 401, ""), message)
