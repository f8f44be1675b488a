"""Digest in both roles: 401 and 407 on INVITE and BYE, and callers who must show who they are (RFC 3261 section 22)."""

from __future__ import annotations

import time

import pytest

from bridge.sip.digest import Authenticator, Authority, Credentials
from bridge.sip.errors import SipError
from bridge.sip.gate import Admitted, Verdict
from bridge.sip.message import Request
from tests.sip.phone import OFFER, Answering, port_of, until

from .scenario import Sipp
from .serving import Story, serving

pytestmark = pytest.mark.phone

WHO = {
    401: {"status": "401 Unauthorized", "name": "WWW-Authenticate", "proof": "Authorization"},
    407: {"status": "407 Proxy Authentication Required", "name": "Proxy-Authenticate", "proof": "Proxy-Authorization"},
}
WRONG = """<send><![CDATA[
SIP/2.0 403 Wrong Proof
@ANSWER@
@EMPTY@
]]></send>
<recv request="ACK"/>"""
ALGORITHMS = {
    "MD5, qop auth": 'Digest realm="here", nonce="@NONCE@", qop="auth", algorithm=MD5',
    "MD5, as RFC 2069": 'Digest realm="here", nonce="@NONCE@"',
    "MD5, auth-int": 'Digest realm="here", nonce="@NONCE@", qop="auth-int", algorithm=MD5',
    "SHA-256 before MD5": (
        'Digest realm="here", nonce="@NONCE@", qop="auth", algorithm=MD5\n'
        '@NAME@: Digest realm="here", nonce="@NONCE@", qop="auth", algorithm=SHA-256'
    ),
}


@pytest.mark.parametrize("status", WHO)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_our_call_is_challenged(phone: Sipp, status: int, algorithm: str) -> None:
    who, challenge = WHO[status], ALGORITHMS[algorithm]
    slots = {
        "challenge": f"{who['name']}: {challenge.replace('@NONCE@', 'first')}",
        "challenge_again": f"{who['name']}: {challenge.replace('@NONCE@', 'second')}",
        "unverified": WRONG if status == 401 and "MD5, " in algorithm else "",  # SIPp 3.6 checks no other.
        **who,
    }
    async with serving() as service, phone.answer("challenged_out", **slots) as uri:
        authenticator = Authenticator([Credentials("alice", "secret", None)])
        story = Story(service.invite(uri, sdp=OFFER, authenticator=authenticator))
        await until(lambda: story.over)
        assert story.heard == ["answered", "hung_up"]


async def test_our_password_is_wrong(phone: Sipp) -> None:
    async with serving() as service, phone.answer("challenged_forever") as uri:
        authenticator = Authenticator([Credentials("alice", "wrong", None)])
        story = Story(service.invite(uri, sdp=OFFER, authenticator=authenticator))
        await until(lambda: story.over)
        assert story.heard == [(401, "forbidden")]
        assert service.stats.sent["INVITE"] == 2


class Doorkeeper:
    """A gate that lets in who knows the password."""

    def __init__(self) -> None:
        # SIPp 3.6 looks at the first challenge alone.
        self._authority = Authority("here", {"alice": "secret"}, time.monotonic, algorithms=["MD5"])

    def judge(self, request: Request, source: tuple[str, int], transport: str) -> Verdict:
        user = self._authority.check(request, source[0])
        return user if isinstance(user, SipError) else Admitted("", user)

    def refused(self, request: Request, source: tuple[str, int], error: SipError) -> SipError:
        return error

    def answers(self, host: str) -> bool:
        return True


@pytest.mark.parametrize(
    ("user", "password", "status"), [("alice", "secret", 200), ("alice", "guess", 401), ("bob", "secret", 401)]
)
async def test_a_caller_shows_who_he_is(phone: Sipp, user: str, password: str, status: int) -> None:
    application = Answering()
    then = "@HANGS_UP@" if status == 200 else ""
    async with serving(application, gate=Doorkeeper()) as service:
        await phone.call("proves_in", port_of(service), user=user, password=password, status=str(status), then=then)
        assert [call.admitted.user for call in application.calls] == ([user] if status == 200 else [])
