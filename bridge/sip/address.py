"""Name and address, as in From, To, Contact and Route (RFC 3261 section 20.10)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import malformed
from .grammar import Parameters, parameter, parse_parameters, quote_string, split, unquote_string
from .remembered import remembered
from .uri import Uri

_NAME_ADDR = re.compile(r"\s*(?P<name>\"(?:[^\"\\]|\\.)*\"|[^\"<>]*?)\s*<(?P<uri>[^<>]*)>(?P<rest>.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """A display name ("" when there is none), a URI and the parameters of the header field."""

    display: str
    uri: Uri
    parameters: Parameters = ()

    @property
    def tag(self) -> str | None:
        """The tag of a From or To; None when there is none."""
        return parameter(self.parameters, "tag") or None

    def __str__(self) -> str:
        name = f"{quote_string(self.display)} " if self.display else ""
        parameters = "".join(f";{key}" if value is None else f";{key}={value}" for key, value in self.parameters)
        return f"{name}<{self.uri}>{parameters}"

    @classmethod
    def parse(cls, text: str, where: str = "address") -> Address:
        """Read one name-addr or addr-spec; SipError 400 with the header named `where` otherwise."""
        return _parse(text, where)


@remembered
def _parse(text: str, where: str) -> Address:
    match = _NAME_ADDR.match(text)
    if match is None:
        return _parse_bare(text, where)
    rest = match["rest"].strip()
    if rest and not rest.startswith(";"):
        raise malformed(f"Malformed {where}")
    return Address(
        unquote_string(match["name"].strip()),
        _uri(match["uri"].strip(), where),
        parse_parameters(split(rest[1:], ";"), where) if rest else (),
    )


def _parse_bare(text: str, where: str) -> Address:
    # Without brackets every parameter belongs to the header, none to the URI, and it has no headers either
    # (RFC 3261 section 20.10).
    if any(mark in text for mark in '"<>?'):
        raise malformed(f"Malformed {where}")
    uri, *parameters = split(text, ";")
    return Address("", _uri(uri, where), parse_parameters(parameters, where))


def _uri(text: str, where: str) -> Uri:
    uri = Uri.parse(text)
    if uri.scheme in ("sip", "sips") and not uri.host:
        raise malformed(f"Malformed {where}")
    return uri
