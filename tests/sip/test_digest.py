"""Digest on both sides: the client, the server, and one against the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.challenge import MAX_CHALLENGES, Authorization, Challenge
from bridge.sip.digest import MAX_ROUNDS, Authenticator, Authority, Credentials, Header
from bridge.sip.errors import SipError
from bridge.sip.message import Request, Response, parse

from .stack import request

URI = "sip:600@192.0.2.10"
ALICE = Credentials("alice", "secret")


def asked(headers: Sequence[Header] = (), *, method: str = "REGISTER", uri: str = URI, body: str = "") -> Request:
    """A request of a peer that carries these headers."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
    message = parse(request(method, uri=uri, extra=extra, body=body).encode("utf-8", "surrogateescape"))
    assert isinstance(message, Request)
    return message


def refusal(*challenges: str, status: int = 401, name: str = "WWW-Authenticate") -> Response:
    return asked().response(status, headers=[(name, text) for text in challenges])


def answers(headers: Sequence[Header]) -> list[Authorization]:
    found = [Authorization.parse(value) for _, value in headers]
    return [answer for answer in found if answer is not None]


def digest_of(name: str, *parts: str) -> str:
    return hashlib.new(name, ":".join(parts).encode()).hexdigest()


class Client:
    """An authenticator that has met these challenges; `answer` is what it says to them."""

    def __init__(self, *challenges: str, credentials: Sequence[Credentials] = (ALICE,)) -> None:
        self.authenticator = Authenticator(credentials, lambda: "c0ffee")
        self.tries = self.authenticator.challenged(refusal(*challenges))

    def answer(self, method: str = "REGISTER", uri: str = URI, body: bytes = b"") -> Authorization:
        (answer,) = answers(self.authenticator.authorize(method, uri, body))
        return answer

    def again(self, *challenges: str) -> bool:
        """Use what is known once, and have it refused."""
        self.authenticator.authorize("REGISTER", URI)
        return self.authenticator.challenged(refusal(*challenges))


@pytest.mark.parametrize(("name", "function"), [("MD5", "md5"), ("SHA-256", "sha256"), ("SHA-512-256", "sha512_256")])
def test_each_algorithm_by_hand(name: str, function: str) -> None:
    body = b"v=0"
    key = digest_of(function, "alice", "r", "secret")
    plain = digest_of(function, key, "n", digest_of(function, "BYE", URI))
    assert Client(f'Digest realm="r", nonce="n", algorithm={name}').answer("BYE").response == plain
    what = digest_of(function, "BYE", URI, hashlib.new(function, body).hexdigest())
    whole = digest_of(function, key, "n", "00000001", "c0ffee", "auth-int", what)
    client = Client(f'Digest realm="r", nonce="n", algorithm={name}, qop="auth-int"')
    assert client.answer("BYE", body=body).response == whole
    session = digest_of(function, key, "n", "c0ffee")
    counted = digest_of(function, session, "n", "00000001", "c0ffee", "auth", digest_of(function, "BYE", URI))
    client = Client(f'Digest realm="r", nonce="n", algorithm={name}-sess, qop="auth"')
    assert client.answer("BYE").response == counted


# The client.


def test_nothing_is_said_before_a_challenge() -> None:
    assert Authenticator([ALICE]).authorize("REGISTER", URI) == []


def test_the_password_is_never_shown() -> None:
    assert "secret" not in repr(ALICE) + repr(Client('Digest realm="r", nonce="n"').authenticator.__dict__)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("MD5", "SHA-256"), "SHA-256"),
        (("MD5-sess", "SHA-512-256", "SHA-256"), "SHA-512-256"),
        (("SHA-256-sess", "MD5"), "SHA-256-sess"),
        (("AKAv1-MD5", "md5"), "md5"),
    ],
)
def test_sha_comes_before_md5(offered: Sequence[str], chosen: str) -> None:
    client = Client(*(f'Digest realm="r", nonce="n", algorithm={name}' for name in offered))
    assert client.answer().algorithm == chosen


@pytest.mark.parametrize(
    ("qop", "chosen"), [('"auth-int, auth"', "auth"), ('"auth-int"', "auth-int"), ("auth", "auth"), ('""', None)]
)
def test_auth_int_is_only_taken_where_nothing_else_is_offered(qop: str, chosen: str | None) -> None:
    answer = Client(f'Digest realm="r", nonce="n", qop={qop}').answer()
    assert (answer.qop, answer.count, answer.cnonce) == ((chosen, "00000001", "c0ffee") if chosen else (None,) * 3)


def test_uses_of_one_nonce_are_counted() -> None:
    client = Client('Digest realm="r", nonce="n", qop="auth"')
    assert [client.answer().count for _ in range(11)][-2:] == ["0000000a", "0000000b"]


def test_the_line_is_written_as_old_servers_read_it() -> None:
    client = Client('Digest realm="r", nonce="n", qop="auth", opaque="", algorithm=MD5')
    ((name, value),) = client.authenticator.authorize("REGISTER", URI)
    assert name == "Authorization"
    assert value.startswith(f'Digest username="alice", realm="r", nonce="n", uri="{URI}", response="')
    assert value.endswith('", algorithm=MD5, cnonce="c0ffee", opaque="", qop=auth, nc=00000001')


@pytest.mark.parametrize(
    "challenge",
    [
        'Digest realm="r", nonce="n", algorithm=AKAv2-MD5',
        'Digest realm="r", nonce="n", qop="auth-conf"',
        'Digest realm="r"',
        'Digest realm="r", nonce=""',
        'Digest realm="r", nonce="n", nonce="m"',
        'Digest realm="r, nonce="n"',
        'Basic realm="r"',
        "Digest",
        "",
    ],
)
def test_what_cannot_be_answered(challenge: str) -> None:
    client = Client(challenge)
    assert not client.tries
    assert client.authenticator.authorize("REGISTER", URI) == []


def test_credentials_are_chosen_by_realm() -> None:
    both = [ALICE, Credentials("bob", "hunter", "carrier")]
    assert Client('Digest realm="carrier", nonce="n"', credentials=both).answer().username == "bob"
    assert Client('Digest realm="other", nonce="n"', credentials=both).answer().username == "alice"
    assert not Client('Digest realm="other", nonce="n"', credentials=both[1:]).tries


def test_server_and_proxies_are_answered_together() -> None:
    authenticator = Authenticator([ALICE])
    proxies = refusal('Digest realm="p1", nonce="n"', status=407, name="Proxy-Authenticate")
    assert authenticator.challenged(proxies)
    assert authenticator.challenged(refusal('Digest realm="r", nonce="n", Digest realm="q", nonce="m"'))
    said = authenticator.authorize("INVITE", URI)
    assert [name for name, _ in said] == ["Proxy-Authorization", "Authorization", "Authorization"]
    assert [answer.realm for answer in answers(said)] == ["p1", "r", "q"]


def test_a_refused_password_is_not_tried_again() -> None:
    client = Client('Digest realm="r", nonce="n"')
    assert client.tries
    assert not client.again('Digest realm="r", nonce="n2"')
    assert client.authenticator.authorize("REGISTER", URI) == []
    # The next request begins anew.
    assert client.authenticator.challenged(refusal('Digest realm="r", nonce="n3"'))


def test_the_same_nonce_is_not_tried_twice() -> None:
    client = Client('Digest realm="r", nonce="n", qop="auth"')
    client.answer()
    assert not client.again('Digest realm="r", nonce="n", qop="auth"')


def test_a_stale_nonce_is_replaced() -> None:
    client = Client('Digest realm="r", nonce="n", qop="auth"')
    assert client.again('Digest realm="r", nonce="n2", qop="auth", stale=TRUE')
    assert (client.answer().nonce, client.answer().count) == ("n2", "00000002")


def test_a_nonce_that_was_good_may_be_replaced_without_a_word() -> None:
    client = Client('Digest realm="r", nonce="n0", qop="auth"')
    for number in range(1, 10):
        client.answer()
        assert client.again(f'Digest realm="r", nonce="n{number}", qop="auth"')


def test_stale_for_ever_ends() -> None:
    client = Client('Digest realm="r", nonce="n", qop="auth"')
    tries = [client.again(f'Digest realm="r", nonce="n{number}", qop="auth", stale=true') for number in range(5)]
    assert tries.index(False) == MAX_ROUNDS - 1


def test_a_request_that_carried_nothing_blames_no_password() -> None:
    client = Client('Digest realm="r", nonce="n", qop="auth"')
    carried = asked(client.authenticator.authorize("REGISTER", URI))
    authenticator = client.authenticator
    assert authenticator.challenged(refusal('Digest realm="r", nonce="n2", qop="auth"'), asked())
    assert not authenticator.challenged(refusal('Digest realm="r", nonce="n3", qop="auth"'), carried)


def test_a_flood_of_challenges_is_bounded() -> None:
    flood = [f'Digest realm="r{number}", nonce="n"' for number in range(100)]
    client = Client(*flood)
    assert client.authenticator.challenged(refusal(*flood[50:]))
    assert len(client.authenticator.authorize("REGISTER", URI)) == MAX_CHALLENGES


# The server.


class Gate:
    """An authority with a clock of its own."""

    def __init__(self, **options: object) -> None:
        self.now = 1000.0
        users = {"alice": "secret", 'o"dd\\ ü': "p:ä"}
        self.authority = Authority("bridge", users, lambda: self.now, **options)  # type: ignore[arg-type]

    def challenges(self) -> list[str]:
        return [value for _, value in self.refused(asked()).headers]

    def check(self, message: Request, host: str = "192.0.2.1") -> str:
        """The user, or the reason of the refusal in brackets."""
        found = self.authority.check(message, host)
        return found if isinstance(found, str) else f"({found.reason})"

    def refused(self, message: Request) -> SipError:
        found = self.authority.check(message, "192.0.2.1")
        assert isinstance(found, SipError)
        return found

    def client(self, credentials: Credentials = ALICE) -> Authenticator:
        authenticator = Authenticator([credentials])
        assert authenticator.challenged(refusal(*self.challenges()))
        return authenticator

    def wrong(self) -> Request:
        return asked(self.client(Credentials("alice", "guess")).authorize("REGISTER", URI))


def test_a_stranger_is_challenged_with_sha_first_and_one_nonce() -> None:
    gate = Gate()
    error = gate.refused(asked())
    assert (error.status, error.reason) == (401, "challenged")
    sha, md5 = (Challenge.parse(value)[0] for name, value in error.headers if name == "WWW-Authenticate")
    assert (sha.algorithm, md5.algorithm, sha.nonce) == ("SHA-256", "MD5", md5.nonce)
    assert sha.qop == ("auth", "auth-int")
    assert not sha.stale
    assert gate.challenges() != gate.challenges()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("qop", ["auth", "auth-int", ""])
def test_who_knows_the_password_comes_in(first: int, qop: str) -> None:
    gate = Gate()
    challenge = gate.challenges()[first].replace('qop="auth,auth-int"', f'qop="{qop}"')
    authenticator = Authenticator([ALICE])
    authenticator.challenged(refusal(challenge))
    message = asked(authenticator.authorize("INVITE", URI, b"v=0"), method="INVITE", body="v=0")
    assert gate.check(message) == "alice"


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


def test_an_old_nonce_is_stale_only_for_who_knows_the_password() -> None:
    gate = Gate()
    alice, guesser = gate.client(), gate.client(Credentials("alice", "guess"))
    gate.now += 300.1
    error = gate.refused(asked(alice.authorize("REGISTER", URI)))
    assert (error.status, error.reason) == (401, "stale_nonce")
    assert alice.challenged(refusal(*(value for _, value in error.headers)))
    assert gate.check(asked(alice.authorize("REGISTER", URI))) == "alice"
    assert gate.check(asked(guesser.authorize("REGISTER", URI))) == "(wrong_credentials)"


def test_a_nonce_of_somebody_else_is_stale() -> None:
    mine, other = Gate(), Gate()
    assert mine.check(asked(other.client().authorize("REGISTER", URI))) == "(stale_nonce)"
    made_up = Authenticator([ALICE])
    made_up.challenged(refusal('Digest realm="bridge", nonce="ä", qop="auth"'))
    assert mine.check(asked(made_up.authorize("REGISTER", URI))) == "(stale_nonce)"


def test_a_replay_is_refused_and_a_retransmission_is_not() -> None:
    gate = Gate()
    alice = gate.client()
    first, second = (asked(alice.authorize("REGISTER", URI)) for _ in range(2))
    assert [gate.check(first), gate.check(second)] == ["alice", "alice"]
    assert gate.check(first) == "(stale_nonce)"
    assert gate.check(second) == "alice"
    assert gate.check(second, "192.0.2.66") == "(stale_nonce)"
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


def test_ten_failures_in_a_minute_lock_a_host_out() -> None:
    gate = Gate()
    good = gate.client()
    wrong = [gate.wrong() for _ in range(10)]
    assert {gate.check(message) for message in wrong} == {"(wrong_credentials)"}
    error = gate.refused(asked(good.authorize("REGISTER", URI)))
    assert (error.status, error.reason) == (403, "too_many_auth_failures")
    assert gate.check(asked(good.authorize("REGISTER", URI)), "192.0.2.2") == "alice"
    gate.now += 60.0
    assert gate.check(asked(good.authorize("REGISTER", URI))) == "alice"


# Whatever comes.


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
