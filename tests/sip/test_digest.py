"""The client side of digest: what it answers, and when it gives up."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from bridge.sip.challenge import MAX_CHALLENGES, Authorization
from bridge.sip.digest import MAX_ROUNDS, Authenticator, Credentials

from .signed import ALICE, URI, answers, asked, refusal


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
