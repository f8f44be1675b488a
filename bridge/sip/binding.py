"""What to register, and what the answer to a REGISTER grants (RFC 3261 section 10.2, RFC 3608)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from .address import Address
from .digest import Credentials, Header
from .errors import SipError
from .grammar import parameter, parse_number, split
from .headers import Headers
from .message import Response
from .uri import Uri, host_port

EXPIRES_S = 300
MAX_EXPIRES_S = 86_400
MAX_RETRY_AFTER_S = 3600
MAX_SERVICE_ROUTES = 16


@dataclass(frozen=True, slots=True)
class Binding:
    """What to register: `user` is the address of record, `server` the registrars, the preferred first.

    A server with `;lr` is an outbound proxy and gets a Route. `transport` ("UDP", "TCP", "TLS") is for
    servers that name none. `contact_user` is the user of our Contact, by default that of `user`. `advertise` is its
    address, or "auto"; None for the usual one.
    """

    server: tuple[Uri, ...]
    user: Uri
    credentials: tuple[Credentials, ...] = ()
    expires_s: int = EXPIRES_S
    contact_user: str | None = None
    headers: tuple[Header, ...] = ()
    transport: str | None = None
    advertise: str | None = None

    def __post_init__(self) -> None:
        if not self.server or not self.user.host or self.expires_s < 1:
            raise ValueError("a binding needs a server, an address of record such as sip:600@pbx.example, and a time")
        Headers.make(self.headers)


class Servers:
    """Whose turn it is: the server that served us last, then the others in the order of the binding."""

    def __init__(self, binding: Binding) -> None:
        self._hops = [_with_transport(uri, binding.transport) for uri in binding.server]
        self._not_before = [float("-inf")] * len(self._hops)
        self._current = 0
        self._waiting: list[int] = []

    @property
    def current(self) -> Uri:
        return self._hops[self._current]

    @property
    def earliest(self) -> float:
        """When the first of them may be asked again."""
        return min(self._not_before)

    def begin(self, now: float) -> None:
        """A new round over those that may be asked now."""
        order = sorted(range(len(self._hops)), key=lambda index: (index != self._current, index))
        willing = [index for index in order if self._not_before[index] <= now]
        self._current, *self._waiting = willing or [min(order, key=self._not_before.__getitem__)]

    def advance(self) -> bool:
        """Go on to the next server; False when the round is over."""
        if self._waiting:
            self._current = self._waiting.pop(0)
            return True
        return False

    def spare(self, until: float) -> None:
        """Do not ask the current server before that time: it has sent Retry-After."""
        self._not_before[self._current] = until


def registrar_of(user: Uri) -> Uri:
    """The Request-URI: the domain of the address of record (section 10.2)."""
    return Uri.parse(f"{user.scheme}:{host_port(user.host, user.port)}")


def _with_transport(uri: Uri, transport: str | None) -> Uri:
    """`uri` with the transport of the binding, unless it names its own."""
    if transport is None or uri.parameter("transport") is not None or uri.scheme == "sips":
        return uri
    return Uri.parse(f"{uri.text.partition('?')[0]};transport={transport.lower()}")


def is_refusal(status: int) -> bool:
    """Whether a second try or another server would hear the same."""
    return status >= 600 or (300 <= status < 500 and status not in (408, 429, 480, 491))


def advice(status: int) -> str:
    """What the operator can do about a refusal."""
    if status in (401, 407, 403):
        return "check user and password"
    if status in (404, 410, 604):
        return "check that the registrar knows this user and domain"
    if status == 423:
        return "set expires_s as the registrar asks"
    return "check server and user"


def said(response: Response) -> str:
    """An answer for a line that people read."""
    return f"{response.status} {response.phrase[:60]}"


def contact_user(binding: Binding) -> str | None:
    """The user of our Contact, escaped as a URI needs it; None when there is none."""
    user = binding.contact_user or binding.user.user
    return Uri.build(user, "host").text.removeprefix("sip:").partition("@")[0] if user else None


def granted(response: Response, contact: str, asked: int) -> int:
    """Seconds the registrar keeps our Contact (section 10.2.4), at most those we `asked` for.

    Where it is not in the registrar's list (some rewrite its address), the least that stands there.
    """
    listed = _listed(response)
    ours = [one for one in listed if _same(one.uri, Address.parse(contact, "Contact").uri)]
    texts = (parameter(one.parameters, "expires") for one in ours[:1] or listed)
    said = [seconds for text in texts if (seconds := _number(text, 2**32 - 1)) is not None]
    # A zero beside others is a binding that went, not ours.
    least = min(filter(None, said), default=0) if said else _number(response.header("Expires"), 2**32 - 1)
    return asked if least is None else min(least, asked)


def _listed(response: Response) -> list[Address]:
    """The bindings that the registrar names; `*` and what cannot be read are nobody's."""
    found = []
    for line in response.lines.lines("Contact"):
        with suppress(SipError):
            found += [Address.parse(text, "Contact") for text in split(line.value, ",")]
    return found


def _same(one: Uri, other: Uri) -> bool:
    """The same user at the same address; the host of a URI is lower case once it is read."""
    return (one.user, one.hop) == (other.user, other.hop)


def service_route(response: Response) -> tuple[str, ...]:
    """The Route values for our calls (RFC 3608 section 5); none when one of them is malformed."""
    try:
        routes = response.headers("Service-Route")[:MAX_SERVICE_ROUTES]
        for route in routes:
            Address.parse(route, "Service-Route")
    except SipError:
        return ()
    return tuple(routes)


def retry_after(response: Response) -> float:
    """Seconds of Retry-After (section 20.33), at most MAX_RETRY_AFTER_S; 0 when there is none."""
    text = (response.header("Retry-After") or "").partition(";")[0].partition("(")[0].strip()
    return float(min(_number(text, 2**32 - 1) or 0, MAX_RETRY_AFTER_S))


def min_expires(response: Response) -> int | None:
    """Seconds of Min-Expires (section 10.2.8); None when there is none, or more than MAX_EXPIRES_S."""
    return _number(response.header("Min-Expires"), MAX_EXPIRES_S)


def _number(text: str | None, limit: int) -> int | None:
    try:
        return None if text is None else parse_number(text.strip(), "number", limit)
    except SipError:
        return None
