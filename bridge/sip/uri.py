"""SIP, SIPS and tel URIs (RFC 3261 section 19.1, RFC 3966)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import quote, unquote

from .errors import malformed
from .grammar import Parameters, parameter, parse_parameters
from .remembered import remembered

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+\-.]*):")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_\-.]*[A-Za-z0-9_.])?\Z")
_HOST_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::(\d{1,5}))?\Z")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f<>\"]")
_USER_SAFE = "-_.!~*'()&=+$,;?/#"

DEFAULT_PORT = 5060


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI as received (`text`) and what was understood of it.

    `user` is unescaped and None when there is none; `host` is without brackets and lower-case, empty
    for every scheme but sip and sips; `port` is None when the URI names none.
    """

    text: str
    scheme: str
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    parameters: Parameters = ()
    headers: str | None = None

    def __str__(self) -> str:
        return self.text

    def parameter(self, name: str) -> str | None:
        """Value of a URI parameter; "" for a flag such as `lr`, None when absent."""
        return parameter(self.parameters, name)

    @property
    def hop(self) -> tuple[str, int]:
        """Host and port where a request for this URI goes over UDP, without DNS (RFC 3263)."""
        return self.parameter("maddr") or self.host, self.port or DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Read a URI of any scheme; SipError 400 when its syntax is wrong."""
        return _parse(text)

    @classmethod
    def build(cls, user: str | None, host: str, port: int | None = None, parameters: str = "") -> Uri:
        """A sip URI; `parameters` is text such as ";lr"."""
        name = f"{quote(user, safe=_USER_SAFE)}@" if user else ""
        return cls.parse(f"sip:{name}{host_port(host, port)}{parameters}")


@remembered
def _parse(text: str) -> Uri:
    match = _SCHEME.match(text)
    if match is None or _FORBIDDEN.search(text):
        raise malformed("Malformed URI")
    scheme = match[1].lower()
    rest = text[match.end() :]
    if scheme in ("sip", "sips"):
        return _parse_sip(text, scheme, rest)
    if scheme == "tel":
        number, _, parameters = rest.partition(";")
        pieces = parameters.split(";") if parameters else []
        return Uri(text, scheme, unquote(number), parameters=parse_parameters(pieces, "URI"))
    return Uri(text, scheme)


def _parse_sip(text: str, scheme: str, rest: str) -> Uri:
    userinfo, at, tail = rest.partition("@")
    if not at:
        userinfo, tail = "", rest
    elif not userinfo:
        raise malformed("Malformed URI")
    user, colon, password = userinfo.partition(":")
    tail, question, headers = tail.partition("?")
    where, semicolon, parameters = tail.partition(";")
    host, port = parse_host_port(where, "URI")
    return Uri(
        text,
        scheme,
        unquote(user) if at else None,
        password if colon else None,
        host,
        port,
        parse_parameters(parameters.split(";"), "URI") if semicolon else (),
        headers if question else None,
    )


def parse_host_port(text: str, where: str) -> tuple[str, int | None]:
    """Read `host`, `host:port` or `[v6]:port`; SipError 400 naming `where` otherwise."""
    match = _HOST_PORT.match(text)
    if match is None:
        raise malformed(f"Malformed host in {where}")
    host = match[1].lower()
    port = int(match[2]) if match[2] else None
    if port is not None and not 0 < port < 65536:
        raise malformed(f"Malformed port in {where}")
    if host.startswith("["):
        host = host[1:-1]
        if not _is_ipv6(host):
            raise malformed(f"Malformed host in {where}")
    elif not _HOST.match(host):
        raise malformed(f"Malformed host in {where}")
    return host, port


def host_port(host: str, port: int | None = None) -> str:
    """`host[:port]` with brackets around an IPv6 literal."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _is_ipv6(host: str) -> bool:
    if "%" in host:
        return False  # A zone means nothing on another machine, and SIP has none.
    try:
        IPv6Address(host)
    except AddressValueError:
        return False
    return True
