"""REFER and the reports about it: transfers asked for and asked of us (RFC 3515, 3892, 4488)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from .address import Address
from .errors import SipError, malformed, phrase_for
from .grammar import is_token, parameter, parse_number, parse_parameters
from .headers import printable
from .message import Message, Request
from .replaces import Replaces
from .uri import Uri

Header = tuple[str, str]

EVENT = "refer"
SIPFRAG = "message/sipfrag;version=2.0"

_STATUS_LINE = re.compile(rb"[ \t\r\n]{0,8}SIP/2\.0[ \t]+([1-6]\d\d)(?![!-~])", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_S = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Referral:
    """What a REFER asks for.

    `target` is the URI of Refer-To without its headers and method, `method` what to send there, `replaces` the
    call to take over (None for a blind transfer), `headers` the URI's other headers, unescaped: a stranger's
    text without control characters, not to be sent on unread (RFC 3261 section 19.1.5). `referred_by` is the
    Referred-By as received, None without; `notify` is False when the peer wants no reports (Refer-Sub: false).
    """

    target: Uri
    method: str = "INVITE"
    replaces: Replaces | None = None
    headers: tuple[Header, ...] = ()
    referred_by: str | None = None
    notify: bool = True

    @classmethod
    def of(cls, request: Request) -> Referral:
        """Read a REFER; SipError 400 unless it has exactly one Refer-To, and that is well formed."""
        uri = Address.parse(_single(request, "Refer-To"), "Refer-To").uri
        pairs = _uri_headers(uri)
        replaces = [value for name, value in pairs if name.lower() == "replaces"]
        if len(replaces) > 1:
            raise malformed("Several Replaces in Refer-To")
        method = (uri.parameter("method") or "INVITE").upper()
        if not is_token(method):
            raise malformed("Malformed method in Refer-To")
        return cls(
            target=_bare(uri),
            method=method,
            replaces=Replaces.parse(replaces[0]) if replaces else None,
            headers=tuple(pair for pair in pairs if pair[0].lower() != "replaces"),
            referred_by=_referred_by(request),
            notify=(request.header("Refer-Sub") or "").partition(";")[0].strip().lower() != "false",
        )


def _single(request: Request, name: str) -> str:
    values = request.headers(name)
    if len(values) != 1:
        raise malformed(f"Several {name}" if values else f"Missing {name}")
    return values[0]


def _referred_by(request: Request) -> str | None:
    if request.header("Referred-By") is None:
        return None
    value = _single(request, "Referred-By")
    Address.parse(value, "Referred-By")
    return value


def _uri_headers(uri: Uri) -> list[Header]:
    pairs = []
    for piece in (uri.headers or "").split("&"):
        name, _, value = piece.partition("=")
        pair = unquote(name), unquote(value)
        if piece and (not is_token(pair[0]) or _CONTROL.search(pair[1])):
            # An escaped line end would be a header of the stranger's choice in a message of ours.
            raise malformed("Malformed header in Refer-To")
        if piece:
            pairs.append(pair)
    return pairs


def _bare(uri: Uri) -> Uri:
    if uri.scheme not in ("sip", "sips"):
        return uri
    address = uri.text if uri.headers is None else uri.text[: -len(uri.headers) - 1]
    userinfo, at, where = address.partition("@")
    first, *parameters = (where if at else userinfo).split(";")
    kept = [piece for piece in parameters if piece.partition("=")[0].lower() != "method"]
    return Uri.parse(f"{userinfo if at else ''}{at}{';'.join([first, *kept])}")


def refer_headers(target: Uri, *, referred_by: Uri | None = None, replaces: Replaces | None = None) -> list[Header]:
    """Refer-To and Referred-By of a REFER of ours; `replaces` names the call that the peer shall take over."""
    text = target.text
    if replaces is not None:
        text += f"{'?' if target.headers is None else '&'}Replaces={replaces.escaped}"
    by = [("Referred-By", f"<{referred_by}>")] if referred_by is not None else []
    return [("Refer-To", f"<{text}>"), *by]


# The body of a NOTIFY.


def fragment(status: int, phrase: str | None = None) -> tuple[str, bytes]:
    """Content type and body of a report: the answer that the new call got (RFC 3515 section 2.4.5)."""
    line = f"SIP/2.0 {status} {printable(phrase or phrase_for(status))}"
    return SIPFRAG, _CONTROL.sub(" ", line).encode() + b"\r\n"


def status_in(body: bytes) -> int | None:
    """The status that a report tells; None when its body does not begin with a status line."""
    match = _STATUS_LINE.match(body)
    return int(match[1]) if match else None


# Event and Subscription-State.


def event(identity: int | None = None) -> Header:
    """The Event header; `identity` is the CSeq number of the REFER where a dialog has had several."""
    return "Event", EVENT if identity is None else f"{EVENT};id={identity}"


def event_id(message: Message) -> str | None:
    """The `id` of an Event header of this package; None when it has none. SipError 489 for another package."""
    package, _, rest = (message.header("Event") or "").partition(";")
    if package.strip().lower() != EVENT:
        raise SipError(489, "Bad Event", reason="event", headers=(("Allow-Events", EVENT),))
    return parameter(parse_parameters(rest.split(";"), "Event"), "id") or None if rest.strip() else None


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """A Subscription-State header (RFC 6665 section 4.1.3): "active", "pending", "terminated" or another word.

    `expires_s` is in seconds; it and `reason` are None when absent.
    """

    state: str
    expires_s: int | None = None
    reason: str | None = None

    @property
    def terminated(self) -> bool:
        return self.state == "terminated"

    def __str__(self) -> str:
        expires = f";expires={self.expires_s}" if self.expires_s is not None else ""
        reason = f";reason={self.reason}" if self.reason is not None else ""
        return f"{self.state}{expires}{reason}"

    @classmethod
    def parse(cls, text: str) -> SubscriptionState:
        """Read `active;expires=60` or `terminated;reason=noresource`; SipError 400 otherwise."""
        state, _, rest = text.partition(";")
        if not is_token(state.strip()):
            raise malformed("Malformed Subscription-State")
        parameters = parse_parameters(rest.split(";"), "Subscription-State") if rest.strip() else ()
        expires = parameter(parameters, "expires")
        seconds = None if expires is None else parse_number(expires, "Subscription-State", _LONGEST_S)
        reason = parameter(parameters, "reason")
        return cls(state.strip().lower(), seconds, reason.lower() if reason else None)
