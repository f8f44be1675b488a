"""A small registrar for phones that insist on registering (RFC 3261 section 10.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

from .address import Address
from .dialog import new_tag
from .digest import Authority, Header
from .errors import SipError, malformed
from .grammar import Parameters, parameter, parse_number
from .layer import Path
from .message import Request, Response
from .uri import Uri

MINIMUM_S, MAXIMUM_S = 60, 3600
MAX_CONTACTS = 10
MAX_CONTACT_LENGTH = 1024
"""Characters of one Contact value."""

Key = tuple[str, str | None, str, int | None, str]


@dataclass(frozen=True, slots=True)
class Registered:
    """One binding: where a phone said it is, and the path its REGISTER really came by."""

    contact: Address
    path: Path
    call_id: str
    cseq: int
    expires_at: float

    @property
    def preference(self) -> float:
        """The q value (RFC 3261 section 20.10); 1 when there is none."""
        try:
            return float(parameter(self.contact.parameters, "q") or 1.0)
        except ValueError:
            return 1.0


_Bindings = dict[Key, Registered]


class Registrar:
    """Serves REGISTER for named users with passwords; `clock` gives seconds.

    Bounded: MAX_CONTACTS bindings for each user, of whom only the configured ones exist. Give it the
    `authority` of whoever else challenges REGISTERs, or a phone would be asked twice.
    """

    def __init__(
        self,
        realm: str,
        users: Mapping[str, str],
        clock: Callable[[], float],
        *,
        authority: Authority | None = None,
        minimum_s: int = MINIMUM_S,
        maximum_s: int = MAXIMUM_S,
        headers: Sequence[Header] = (),
    ) -> None:
        """`headers` are added to each 200, such as our Server."""
        self.authority = authority or Authority(realm, users, clock)
        self._users = users
        self._clock = clock
        self._minimum = minimum_s
        self._maximum = max(minimum_s, maximum_s)
        self._headers = tuple(headers)
        self._bindings: dict[str, _Bindings] = {}

    def __len__(self) -> int:
        """Bindings alive."""
        now = self._clock()
        return sum(one.expires_at > now for bindings in self._bindings.values() for one in bindings.values())

    def receive(self, request: Request, path: Path, source: tuple[str, int]) -> Response | SipError:
        """Answer one REGISTER: 200 with all bindings, or the refusal it deserves."""
        user = self.authority.check(request, source[0])
        if isinstance(user, SipError):
            return user
        try:
            bindings = self._served(user, request, replace(path, peer=source))
        except SipError as error:
            return error.with_traceback(None)  # as a value it needs no frames
        now = self._clock()
        contacts = [("Contact", _shown(one, now)) for one in bindings.values()]
        return request.response(200, tag=new_tag(), headers=[*contacts, *self._headers])

    def lookup(self, user: str) -> list[tuple[Uri, Path]]:
        """Where a user can be reached: the contact and the way his REGISTER came, the preferred first."""
        bindings = self._alive(user).values()
        newest_first = sorted(bindings, key=lambda one: (one.preference, one.expires_at), reverse=True)
        return [(one.contact.uri, one.path) for one in newest_first]

    def uses(self, peer: tuple[str, int]) -> bool:
        """Whether a binding lives on the connection to a peer."""
        now = self._clock()
        every = (one for bindings in self._bindings.values() for one in bindings.values())
        return any(one.path.peer == peer and one.expires_at > now for one in every)

    def expire(self, now: float) -> None:
        """Forget the bindings whose time is over; without it they only stay unseen."""
        for user, bindings in list(self._bindings.items()):
            self._keep(user, {key: one for key, one in bindings.items() if one.expires_at > now})

    def _served(self, user: str, request: Request, path: Path) -> _Bindings:
        name = request.to.uri.user
        if user not in self._users or name != user:
            raise SipError(403, "Not Your Address Of Record", reason="wrong_user")
        # All in a copy: when one contact cannot be served, none is (section 10.3, step 7).
        updated = self._alive(user)
        contacts = request.headers("Contact")
        if "*" in contacts:
            updated = _without_all(request, contacts, updated)
        else:
            for contact in _addresses(contacts):
                self._update(updated, contact, request, path)
            _limit(updated)
        self._keep(user, updated)
        return updated

    def _update(self, bindings: _Bindings, contact: Address, request: Request, path: Path) -> None:
        key = _key(contact.uri)
        expires = self._granted(contact, request)
        before = bindings.get(key)
        if before is not None and not _newer(request, before):
            return
        bindings.pop(key, None)
        if expires:
            kept = tuple(pair for pair in contact.parameters if pair[0] != "expires")
            until = self._clock() + expires
            bindings[key] = Registered(
                Address("", contact.uri, kept), path, request.call_id, request.cseq.number, until
            )

    def _granted(self, contact: Address, request: Request) -> int:
        asked = _asked(contact.parameters, request)
        wanted = self._maximum if asked is None else min(asked, self._maximum)
        if 0 < wanted < self._minimum:
            headers = (("Min-Expires", str(self._minimum)),)
            raise SipError(423, "Interval Too Brief", reason="interval_too_brief", headers=headers)
        return wanted

    def _alive(self, user: str) -> _Bindings:
        now = self._clock()
        return {key: one for key, one in self._bindings.get(user, {}).items() if one.expires_at > now}

    def _keep(self, user: str, bindings: _Bindings) -> None:
        if bindings:
            self._bindings[user] = bindings
        else:
            self._bindings.pop(user, None)


def _addresses(contacts: list[str]) -> list[Address]:
    if len(contacts) > MAX_CONTACTS:
        raise SipError(403, "Too Many Contacts", reason="too_many_contacts")
    addresses = [Address.parse(text, "Contact") for text in contacts if len(text) <= MAX_CONTACT_LENGTH]
    if len(addresses) < len(contacts) or any(one.uri.scheme not in ("sip", "sips") for one in addresses):
        raise malformed("Malformed Contact")
    return addresses


def _without_all(request: Request, contacts: list[str], bindings: _Bindings) -> _Bindings:
    if len(contacts) > 1 or request.header("Expires") != "0":
        raise malformed("Contact * Needs Expires 0")
    return {key: one for key, one in bindings.items() if not _newer(request, one)}


def _limit(bindings: _Bindings) -> None:
    # Phones that restart come from a new port each time: the binding that was refreshed longest ago is dead.
    while len(bindings) > MAX_CONTACTS:
        del bindings[next(iter(bindings))]


def _newer(request: Request, before: Registered) -> bool:
    """False for a repeat of the REGISTER that made this binding; SipError 500 for an older one."""
    if request.call_id != before.call_id or request.cseq.number > before.cseq:
        return True
    if request.cseq.number < before.cseq:
        raise SipError(500, "Request Out of Order", reason="cseq_order")
    return False


def _asked(parameters: Parameters, request: Request) -> int | None:
    """Seconds asked for; None when nothing readable was said (malformed counts as absent, section 10.2.1.1)."""
    for text in (parameter(parameters, "expires"), request.header("Expires")):
        if text is not None:
            try:
                return parse_number(text.strip(), "Expires", 2**32 - 1)
            except SipError:
                return None
    return None


def _key(uri: Uri) -> Key:
    """What makes two contacts the same (a simple form of RFC 3261 section 19.1.4)."""
    return uri.scheme, uri.user, uri.host, uri.port, (uri.parameter("transport") or "").lower()


def _shown(one: Registered, now: float) -> str:
    # Rounded up: a binding that is listed is alive.
    return f"{one.contact};expires={ceil(one.expires_at - now)}"
