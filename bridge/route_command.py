"""`sipbridge route`: which route takes a given call, and why every other does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import typer

from bridge.config import Config
from bridge.peers import Peers
from bridge.routing import Choice, Judged, Router
from bridge.sip.errors import SipError
from bridge.sip.grammar import TOKEN
from bridge.sip.headers import HeaderLine, Headers
from bridge.sip.identity import Identity
from bridge.sip.message import Request, parse
from bridge.sip.uri import Uri

MAX_INVITE = 64 * 1024
NOWHERE = "sipbridge.invalid"
"""The host of numbers that are given without one."""


class RouteError(Exception):
    """The call cannot be asked about; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Question:
    """A call as the command line describes it; `invite` instead of the first three."""

    to: str = ""
    from_: str = ""
    headers: Sequence[str] = ()
    invite: Path | None = None
    trunk: str | None = None
    source: str | None = None


def run_route(config: Config, question: Question) -> bool:
    """Print every route and the winner; whether an agent takes the call. Raises RouteError."""
    request = _read(question.invite) if question.invite else _built(question)
    trunk = _trunk(config, question)
    identity = Identity.of(request, trusted=trunk is not None)
    router = Router(config)
    typer.echo(_described(identity, trunk))
    if trunk is None and not any(config.callers()):
        typer.echo(f"{question.source} is not a peer: no answer; name its network in trunks.<name>.peers to take it")
        return False
    choice = router.choose(identity, trunk or "", request.lines)
    for judged in router.explain(identity, trunk or "", request.lines):
        typer.echo(_shown(judged, choice))
    if choice is None:
        typer.echo("no route fits: the caller gets 404")
        return False
    typer.echo(f"agent {choice.agent}: {choice.why}")
    return True


def _trunk(config: Config, question: Question) -> str | None:
    """The trunk's name; "" for the default networks, None for a stranger who called with a password."""
    if question.trunk is not None:
        if question.trunk not in config.trunks:
            known = ", ".join(sorted(config.trunks)) or "none"
            raise RouteError(f"--trunk {question.trunk}: there is no such trunk; there are: {known}")
        return question.trunk
    if question.source is None:
        return ""
    try:
        ip_address(question.source.partition("%")[0])
    except ValueError:
        raise RouteError(f"--source {question.source}: write an IP address, for example 192.0.2.53") from None
    return Peers(config).trunk_of(question.source)


def _described(identity: Identity, trunk: str | None) -> str:
    facts = {
        "to": identity.called,
        "from": identity.caller,
        "name": identity.caller_name,
        "to_header": identity.addressee.address,
        "diverted_from": identity.diverted_from,
        "trunk": trunk or "",
    }
    words = [f"{name} {value!r}" for name, value in facts.items() if value]
    if trunk is None:
        words.append("not a peer: only a password lets it in, and only From is believed")
    if identity.withheld:
        words.append("caller withheld")
    return f"call {', '.join(words)}"


def _shown(judged: Judged, choice: Choice | None) -> str:
    takes = choice is not None and choice.rule == judged.number
    verdict = "takes it" if takes else "fits, but comes later" if judged.fits else "does not fit"
    conditions = "; ".join(str(condition) for condition in judged.conditions) or "no conditions"
    return f"{judged.number:>4}  {judged.agent}: {verdict}: {conditions}"


def _built(question: Question) -> Request:
    to, caller = _uri(question.to, "--to"), _uri(question.from_ or "anonymous@anonymous.invalid", "--from")
    lines = [
        ("Via", f"SIP/2.0/UDP {NOWHERE};branch=z9hG4bKroute"),
        ("From", f"<{caller}>;tag=route"),
        ("To", f"<{to}>"),
        ("Call-ID", "route"),
        ("CSeq", "1 INVITE"),
        ("Contact", f"<{caller}>"),
    ]
    own = Headers(_header(text) for text in question.headers)
    replaced = {line.key for line in own}
    kept = (line for line in Headers.make(lines) if line.key not in replaced)
    return Request(Headers((*kept, *own)), b"", "INVITE", to)


def _uri(text: str, option: str) -> Uri:
    """A whole URI, user@host, or a number alone."""
    try:
        if text.partition(":")[0].lower() in ("sip", "sips", "tel"):
            return Uri.parse(text)
        user, at, host = text.rpartition("@")
        return Uri.build(user if at else text, host if at else NOWHERE)
    except SipError as error:
        raise RouteError(f"{option} {text}: {error.phrase}: write a number, user@host or a sip URI") from None


def _header(text: str) -> HeaderLine:
    name, colon, value = text.partition(":")
    if not colon or not TOKEN.match(name.strip()):
        raise RouteError(f"--header {text!r}: write it as 'Name: value'")
    try:
        return HeaderLine.make(name.strip(), value.strip())
    except ValueError:
        raise RouteError(f"--header {text!r}: one line, please") from None


def _read(path: Path) -> Request:
    """An INVITE as it was captured; the blank line at the end may be missing, and the body may be cut."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INVITE + 1).lstrip()
    except OSError as error:
        raise RouteError(f"--invite {path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_INVITE:
        raise RouteError(f"--invite {path}: longer than {MAX_INVITE} bytes")
    head = data.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    lines = [line for line in head.split(b"\n") if not line.lower().startswith((b"content-length", b"l:"))]
    try:
        message = parse(b"\r\n".join([*lines, b"", b""]))
    except SipError as error:
        if not _is_text(head):
            words = "is no SIP message in text: export the INVITE as text, for example from the capture"
            raise RouteError(f"--invite {path}: {words}") from None
        raise RouteError(f"--invite {path}: not a SIP request: {error.phrase}") from None
    if not isinstance(message, Request):
        raise RouteError(f"--invite {path}: a SIP answer; give the request")
    return message


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False
