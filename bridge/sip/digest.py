"""Both sides of digest authentication (RFC 3261 section 22, RFC 7616, RFC 8760)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import ceil

from .challenge import AUTH, AUTH_INT, MAX_CHALLENGES, Algorithm, Authorization, Challenge, algorithm_of, proof
from .errors import SipError
from .message import Message, Request, Response
from .nonces import NONCE_LIFE_S, Failures, Nonces
from .uri import Uri

Header = tuple[str, str]

MAX_ROUNDS = 2
"""Nonces in a row that may be called stale at their first use."""

_ONLY_MD5 = re.compile(r"baresip v?[0-2]\.|FreeSWITCH|Asterisk PBX 1\d\.", re.IGNORECASE)
"""Agents that give up at a challenge they do not know, where RFC 3261 lets them take the next one."""

_CLIENT = (("WWW-Authenticate", "Authorization"), ("Proxy-Authenticate", "Proxy-Authorization"))


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and password; `realm` None fits every realm."""

    user: str
    password: str = field(repr=False)
    realm: str | None = None


def new_cnonce() -> str:
    """A client nonce that nobody can guess."""
    return secrets.token_hex(8)


@dataclass(slots=True)
class _Protection:
    """A challenge we can answer: how, as whom, and how often we did."""

    challenge: Challenge
    algorithm: Algorithm
    qop: str | None
    credentials: Credentials
    cnonce: str
    rounds: int = 0
    count: int = 0

    def answer(self, method: str, uri: str, body: bytes) -> Authorization:
        self.count += 1
        challenge = self.challenge
        # A session key needs a cnonce even where no qop asks for one.
        named = self.qop is not None or self.algorithm.session
        answer = Authorization(
            username=self.credentials.user,
            realm=challenge.realm,
            nonce=challenge.nonce,
            uri=uri,
            algorithm=challenge.algorithm,
            qop=self.qop,
            count=None if self.qop is None else f"{self.count:08x}",
            cnonce=self.cnonce if named else None,
            opaque=challenge.opaque,
        )
        return replace(answer, response=proof(answer, self.credentials.password, method, body))


_Key = tuple[str, str]  # the header of our answer, the realm


class Authenticator:
    """Answers challenges and remembers them, so that later requests are not challenged again.

    Requests at the same time may share one when `challenged` is told which of them was refused.
    """

    def __init__(self, credentials: Sequence[Credentials], random: Callable[[], str] = new_cnonce) -> None:
        self._credentials = tuple(credentials)
        self._random = random
        self._protections: dict[_Key, _Protection] = {}

    def authorize(self, method: str, uri: str, body: bytes = b"") -> list[Header]:
        """The headers that answer the challenges known so far; none before the first.

        `uri` is the Request-URI as it will be sent. Each call counts as one use of the nonces.
        """
        answers = ((name, part.answer(method, uri, body)) for (name, _), part in self._protections.items())
        return [(name, str(answer)) for name, answer in answers]

    def challenged(self, response: Response, refused: Request | None = None) -> bool:
        """Learn from a 401 or 407; whether trying again with `authorize` makes sense.

        `refused` is the request that was challenged; without it, it is taken to have carried what
        `authorize` gave last. False when no credentials or algorithm fit, when a nonce was refused at
        its first use (the password is wrong), and after MAX_ROUNDS stale nonces in a row.
        """
        used = self._used() if refused is None else self._carried(refused)
        again = False
        for theirs, ours in _CLIENT:
            for realm, offers in _by_realm(_challenges(response, theirs)).items():
                again |= self._learn((ours, realm), offers, used.get((ours, realm)))
        return again

    def _learn(self, key: _Key, offers: Iterable[Challenge], used: tuple[str, int] | None) -> bool:
        before = self._protections.pop(key, None)
        protection = self._choose(offers)
        if protection is None:
            return False
        if used is not None:
            nonce, count = used
            challenge = protection.challenge
            if not challenge.stale and (nonce == challenge.nonce or count <= 1):
                return False
            # A nonce that was good before may grow old as often as it likes.
            protection.rounds = before.rounds + 1 if before is not None and count <= 1 else 0
            if protection.rounds >= MAX_ROUNDS:
                return False
        if len(self._protections) >= MAX_CHALLENGES:
            del self._protections[next(iter(self._protections))]
        self._protections[key] = protection
        return True

    def _choose(self, offers: Iterable[Challenge]) -> _Protection | None:
        """The best challenge we can answer: any SHA before MD5, else in the server's order (RFC 8760 2.4)."""
        fitting = [part for part in map(self._fit, offers) if part is not None]
        fitting.sort(key=lambda part: part.algorithm.name.startswith("MD5"))
        return fitting[0] if fitting else None

    def _fit(self, challenge: Challenge) -> _Protection | None:
        algorithm = algorithm_of(challenge.algorithm)
        qop = next((word for word in (AUTH, AUTH_INT) if word in challenge.qop), None)
        credentials = self._credentials_for(challenge.realm)
        if algorithm is None or credentials is None or (challenge.qop and qop is None):
            return None
        return _Protection(challenge, algorithm, qop, credentials, self._random())

    def _credentials_for(self, realm: str) -> Credentials | None:
        fitting = [one for one in self._credentials if one.realm in (None, realm)]
        fitting.sort(key=lambda one: one.realm is None)
        return fitting[0] if fitting else None

    def _used(self) -> dict[_Key, tuple[str, int]]:
        return {key: (part.challenge.nonce, part.count) for key, part in self._protections.items() if part.count}

    def _carried(self, refused: Request) -> dict[_Key, tuple[str, int]]:
        carried = {}
        for _, ours in _CLIENT:
            for answer in _answers(refused, ours):
                part = self._protections.get((ours, answer.realm))
                known = part.count if part is not None and part.challenge.nonce == answer.nonce else 1
                count = known if answer.count is None else int(answer.count, 16)
                carried[ours, answer.realm] = answer.nonce, count
        return carried


def _answers(request: Message, name: str) -> list[Authorization]:
    found: list[Authorization | None] = []
    for line in request.lines.lines(name):
        with suppress(SipError):  # Not one of ours: a header that the owner has added.
            found.append(Authorization.parse(line.exact))
    return [answer for answer in found if answer is not None]


def _challenges(response: Message, name: str) -> list[Challenge]:
    found: list[Challenge] = []
    for line in response.lines.lines(name):
        with suppress(SipError):  # A challenge that nobody can read is one that we cannot answer.
            found += Challenge.parse(line.exact)
    return found[:MAX_CHALLENGES]


def _by_realm(challenges: Iterable[Challenge]) -> dict[str, list[Challenge]]:
    realms: dict[str, list[Challenge]] = {}
    for challenge in challenges:
        realms.setdefault(challenge.realm, []).append(challenge)
    return realms


class Authority:
    """Challenges strangers and checks their answers; `users` are passwords by user name.

    It answers 401 with WWW-Authenticate, or with `proxy` 407 with Proxy-Authenticate. `clock` gives
    seconds. An unknown user costs and looks the same as a wrong password.
    """

    def __init__(
        self,
        realm: str,
        users: Mapping[str, str],
        clock: Callable[[], float],
        *,
        secret: bytes | None = None,
        proxy: bool = False,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        nonce_life_s: float = NONCE_LIFE_S,
    ) -> None:
        self.realm = realm
        self._users = users
        self._clock = clock
        self._status, self._phrase = (407, "Proxy Authentication Required") if proxy else (401, "Unauthorized")
        self._asks, self._reads = _CLIENT[proxy]
        self._algorithms = tuple(algorithms)
        self._nobody = secrets.token_hex(16)
        self.nonces = Nonces(secret=secret, life_s=nonce_life_s)
        self.failures = Failures()

    def check(self, request: Request, source_host: str) -> str | SipError:
        """The user who sent this request, or the refusal it deserves, whose `reason` is one of:

        "challenged" (401), "stale_nonce" (401), "wrong_credentials" (401), "too_many_auth_failures"
        (403: ten in a minute for one user from one host, or a hundred for all), "digest_uri" (400), "malformed" (400).
        A nonce that we did not give to this host, or long ago, is stale whatever the proof: uncounted, so that forged
        datagrams lock nobody out, and before the proof is looked at, so that it tells nothing of the password.
        The very same request may be checked again, as a retransmission or by another part.
        """
        now = self._clock()
        try:
            answer = self._presented(request)
        except SipError as error:
            return error
        wait_s = self.failures.wait_s(source_host, answer.username if answer is not None else "", now)
        if wait_s > 0:
            again = (("Retry-After", str(ceil(wait_s))),)
            return SipError(403, reason="too_many_auth_failures", headers=again)
        if answer is None:
            return self._challenge(request, source_host, "challenged")
        return self._weigh(answer, request, source_host, now)

    def _weigh(self, answer: Authorization, request: Request, host: str, now: float) -> str | SipError:
        if not self.nonces.is_good(answer.nonce, now, host):
            return self._challenge(request, host, "stale_nonce")
        if not _same_resource(answer.uri, request.uri):
            return SipError(400, "Digest URI Does Not Match", reason="digest_uri")
        if not self._proves(answer, request):
            self.failures.add(host, answer.username, now)
            return self._challenge(request, host, "wrong_credentials")
        # Without qop there is no count: the nonce is good for one request.
        count = 1 if answer.count is None else int(answer.count, 16)
        if not self.nonces.take(answer.nonce, count, _fingerprint(request, answer, host), now, host):
            return self._challenge(request, host, "stale_nonce")
        return answer.username

    def _challenge(self, request: Request, host: str, reason: str) -> SipError:
        """A refusal that asks for credentials; MD5 comes last, where simple phones look."""
        nonce = self.nonces.issue(self._clock(), host)
        stale = reason == "stale_nonce"
        names = self._algorithms
        if "MD5" in names and _ONLY_MD5.match(request.header("User-Agent") or ""):
            names = ("MD5",)
        offers = (Challenge(self.realm, nonce, name, (AUTH, AUTH_INT), None, stale) for name in names)
        headers = [(self._asks, str(offer)) for offer in offers]
        return SipError(self._status, self._phrase, reason=reason, headers=headers)

    def _presented(self, request: Request) -> Authorization | None:
        for line in request.lines.lines(self._reads)[:MAX_CHALLENGES]:
            answer = Authorization.parse(line.exact)
            if answer is not None and answer.realm == self.realm:
                return answer
        return None

    def _proves(self, answer: Authorization, request: Request) -> bool:
        algorithm = algorithm_of(answer.algorithm)
        if algorithm is None or algorithm.name not in self._algorithms:
            return False
        # Nobody has a password too, which nobody can guess: so that unknown users cost the same.
        password = self._users.get(answer.username, self._nobody)
        expected = proof(answer, password, request.method, request.body)
        return hmac.compare_digest(expected, answer.response.lower())


def _same_resource(text: str, target: Uri) -> bool:
    """Whether the digest is for this Request-URI; some phones leave the user or the parameters out."""
    if text == target.text:
        return True
    try:
        uri = Uri.parse(text)
    except SipError:
        return False
    return uri.host == target.host != "" and uri.user in (None, target.user)


def _fingerprint(request: Request, answer: Authorization, source_host: str) -> bytes:
    parts = (answer.response, request.via.branch, request.call_id, str(request.cseq), source_host)
    text = "\n".join(parts).encode("utf-8", "surrogateescape")
    return hashlib.blake2s(text + request.body, digest_size=16).digest()
