"""What all sections of the configuration share, and the small texts that several of them read."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

Json = dict[str, Any]

_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?)"
_PARAMETERS = r"(?:;[A-Za-z0-9_.!~*'()%+-]+(?:=[A-Za-z0-9_.!~*'()%+\[\]:-]+)?)*"
_SERVER = re.compile(rf"(?P<scheme>sips?:)?(?P<rest>{_HOST}(?::\d{{1,5}})?{_PARAMETERS})\Z")
_TARGET = re.compile(rf"(?:sips?:[^@\s<>\"]+@{_HOST}(?::\d{{1,5}})?{_PARAMETERS}|tel:\+?[0-9*#.()-]+[^\s<>\"]*)\Z")
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
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _as_word(value: Any) -> Any:
    """YAML reads a bare `off` as false."""
    return "off" if value is False else value


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
    return f"{match['scheme'] or 'sip:'}{match['rest']}"


def _target(text: str) -> str:
    if _TARGET.match(text) or _USERS.match(text):
        return text
    raise ValueError("write a URI as sip:200@pbx.example, or a number, or a pattern for numbers as 2??")


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
TransferTarget = Annotated[str, AfterValidator(_target)]
WebSocketUrl = Annotated[str, AfterValidator(web_socket_url)]
