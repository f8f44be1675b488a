"""What all sections of the configuration share, and the small texts that several of them read."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from .pattern import Pattern

Json = dict[str, Any]

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?)"
_PARAMETERS = r"(?:;[A-Za-z0-9_.!~*'()%+-]+(?:=[A-Za-z0-9_.!~*'()%+\[\]:-]+)?)*"
_PLACE = rf"(?P<host>{_HOST})(?::(?P<port>\d{{1,9}}))?"
_SERVER = re.compile(rf"(?P<scheme>sips?:)?(?P<rest>{_PLACE}(?P<parameters>{_PARAMETERS}))\Z")
_DOMAIN = re.compile(rf"{_PLACE}\Z")
_TARGET = re.compile(rf"(?P<scheme>sips?:)[^@\s\x00-\x1f\x7f<>\"]+@{_PLACE}(?P<parameters>{_PARAMETERS})\Z")
_TELEPHONE = re.compile(rf"tel:\+?[0-9*#.()-]+{_PARAMETERS}\Z")
_TRANSPORT = re.compile(r";transport(?:=([^;]*))?(?=;|\Z)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_USERS = re.compile(r"[^\s@<>\":;]{1,64}\Z")


class Misplaced(ValueError):
    """A fault that only the whole configuration shows, with the place it stands at."""

    def __init__(self, place: tuple[str | int, ...], words: str) -> None:
        super().__init__(words)
        self.place = place


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, nothing changes after the start."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


def _as_list(value: Any) -> Any:
    """One value, or several with commas between, where a list is meant: the environment has only text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _as_word(value: Any) -> Any:
    """YAML reads a bare `off` as false, and `on` as true."""
    return {False: "off", True: "on"}[value] if isinstance(value, bool) else value


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("write a network as 10.0.0.0/8, or an address as 10.1.2.3") from None
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise ValueError("write an IP address, for example 192.0.2.53") from None


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("there is no such file")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return path


def _server(text: str) -> str:
    match = _SERVER.match(text)
    if match is None:
        raise ValueError("write it as pbx.example, sip:pbx.example:5070 or sip:pbx.example;transport=tcp")
    _check_place(match)
    _check_transport(match)
    return f"{match['scheme'] or 'sip:'}{match['rest']}"


def domain_of(text: str) -> str:
    """A host as a URI has it; ValueError for anything else. A bare IPv6 address gets its brackets."""
    match = _DOMAIN.match(f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text)
    if match is None:
        raise ValueError("write a host, for example pbx.example")
    _check_place(match)
    return match[0]


def _target(text: str) -> str:
    match = _TARGET.match(text)
    if match is not None:
        _check_place(match)
        _check_transport(match)
    elif _USERS.match(text):
        Pattern.parse(text)
    elif not _TELEPHONE.match(text):
        raise ValueError("write a URI as sip:200@pbx.example, or a number, or a pattern for numbers as 2??")
    return text


def _check_place(match: re.Match[str]) -> None:
    if match["port"] is not None and not 1 <= int(match["port"]) <= 65535:
        raise ValueError(f"there is no port {match['port']}: use 1 to 65535")
    if match["host"].startswith("["):
        try:
            ipaddress.IPv6Address(match["host"][1:-1])
        except ValueError:
            raise ValueError(f"{match['host']} is no IPv6 address: write it as [2001:db8::1]") from None


def _check_transport(match: re.Match[str]) -> None:
    for named in _TRANSPORT.findall(match["parameters"]):
        if named.lower() not in ("udp", "tcp", "tls"):
            raise ValueError(f"there is no transport {named!r} here: use udp, tcp or tls")
        if named.lower() == "udp" and match["scheme"] == "sips:":
            raise ValueError("sips: never goes over udp: leave the transport out, or write sip:")


def _line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("control characters cannot be used here: write one line of text")
    return text


def web_socket_url(text: str) -> str:
    """The same text; ValueError when it is no ws:// or wss:// URL."""
    try:
        parts = urlsplit(text)
        if parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0:
            return text
    except ValueError:
        pass
    raise ValueError("write it as wss://HOST/v1/realtime")


AsList = BeforeValidator(_as_list)
AsWord = BeforeValidator(_as_word)
Network = Annotated[str, AfterValidator(_network)]
Address = Annotated[str, AfterValidator(_address)]
File = Annotated[Path, AfterValidator(_file)]
Server = Annotated[str, AfterValidator(_server)]
"""A SIP server: always a whole URI after reading, `pbx.local` becomes `sip:pbx.local`."""
Domain = Annotated[str, AfterValidator(domain_of)]
"""A host as a URI has it, an IPv6 address in brackets; a port may follow."""
Line = Annotated[str, AfterValidator(_line)]
"""Text without control characters."""
TransferTarget = Annotated[str, AfterValidator(_target)]
WebSocketUrl = Annotated[str, AfterValidator(web_socket_url)]
