"""The SIP side: where we listen and how we behave (`sip`), who may register here (`registrar`)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from .section import Address, AsList, AsWord, File, Misplaced, Section

_LISTEN = re.compile(r"(?P<scheme>udp|tcp|tls)://(?P<host>\[[0-9a-fA-F:.]+\]|[^:/\[\]]+)(?::(?P<port>\d{1,5}))?/?$")
_REALM = re.compile(r"[ !#-\[\]-~]{1,128}\Z")
MIN_SESSION_S = 90
"""The shortest session interval there may be (RFC 4028 section 4)."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address to listen on: `udp`, `tcp` or `tls`, an IP literal without brackets, a port."""

    transport: str
    host: str
    port: int

    @property
    def place(self) -> tuple[bool, str, int]:
        """What only one socket can have: TCP and TLS share their ports."""
        try:
            host = str(ipaddress.ip_address(self.host))
        except ValueError:
            host = self.host.lower()
        return self.transport == "udp", host, self.port


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("name an address to listen on, for example udp://0.0.0.0:5060")
    return value


def _endpoint(text: str) -> str:
    match = _LISTEN.match(text)
    if match is None or int(match["port"] or 0) > 65535:
        raise ValueError("write it as udp://HOST:PORT, for example udp://0.0.0.0:5060")
    return text


def _realm(text: str) -> str:
    if not _REALM.match(text):
        raise ValueError('use 1 to 128 letters, digits and signs of ASCII, but no " and no \\')
    return text


def _reachable(text: str) -> str:
    if text == "auto":
        return text
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        raise ValueError("write an IP address, or auto") from None
    if address.is_unspecified:
        raise ValueError("peers cannot send to this address: write the one they reach, or auto")
    return str(address)


Advertise = Annotated[str, AfterValidator(_reachable)]
"""An address that peers reach us at, or `auto`."""


def _as_text(value: Any) -> Any:
    """YAML reads a bare 1.2 as a number."""
    return str(value) if isinstance(value, float) else value


class Tls(Section):
    """Our certificate, whom we trust, and from which version on."""

    certificate: File | None = None
    """PEM, with the chain; needed to listen on tls://."""
    key: File | None = None
    """PEM; default: it stands in the certificate's file."""
    ca: File | None = None
    """PEM of the authorities we trust; default: the system's."""
    verify_servers: bool = True
    client_certificates: bool = False
    """Whether clients must show a certificate of `ca`."""
    minimum: Annotated[Literal["1.2", "1.3"], BeforeValidator(_as_text)] = "1.2"

    @model_validator(mode="after")
    def _whole(self) -> Tls:
        if self.key is not None and self.certificate is None:
            raise Misplaced(("sip", "tls", "key"), "a key needs its certificate: name it in sip.tls.certificate")
        if self.client_certificates and self.ca is None:
            raise Misplaced(("sip", "tls", "client_certificates"), "say in sip.tls.ca who signs the clients'")
        return self


class SessionTimer(Section):
    """Session timers (RFC 4028): a call whose peer has vanished does not stay for ever."""

    expires_s: int = 1800
    """The interval we ask for, in seconds; 0: off."""
    min_s: int = Field(default=MIN_SESSION_S, ge=MIN_SESSION_S)
    """The shortest interval we accept."""
    refresher: Literal["auto", "us", "peer"] = "auto"

    @model_validator(mode="after")
    def _in_range(self) -> SessionTimer:
        if self.expires_s and self.expires_s < self.min_s:
            place = ("sip", "session_timer", "expires_s")
            raise Misplaced(place, f"{self.expires_s}: write 0 for off, or at least {self.min_s} (min_s)")
        return self


class Sip(Section):
    """Where calls come in, and how the user agent behaves."""

    listen: Annotated[tuple[Annotated[str, AfterValidator(_endpoint)], ...], AsList, AfterValidator(_some)] = (
        "udp://0.0.0.0:5060",
    )
    advertise: Advertise = "auto"
    """The address in Contact, Via and SDP: an IP address, or `auto` to find the one that faces each peer."""
    tls: Tls = Tls()
    session_timer: SessionTimer = SessionTimer()
    reliable: Annotated[Literal["off", "supported", "required"], AsWord] = "supported"
    """Reliable provisional answers (100rel, RFC 3262)."""
    early_media: bool = False
    """Answer 183 with a description while the session is opened, instead of 180."""
    nameservers: Annotated[tuple[Address, ...], AsList] = ()
    """Default: the system's."""

    @model_validator(mode="after")
    def _each_place_is_listened_on_once(self) -> Sip:
        taken: dict[tuple[bool, str, int], str] = {}
        for number, endpoint in enumerate(self.endpoints()):
            place = endpoint.place
            if place in taken:
                words = f"{self.listen[number]}: {taken[place]} has this address and port: keep one"
                raise Misplaced(("sip", "listen", number), words)
            if endpoint.port:
                taken[place] = self.listen[number]
        return self

    @model_validator(mode="after")
    def _tls_has_a_certificate(self) -> Sip:
        if self.tls.certificate is None and any(endpoint.transport == "tls" for endpoint in self.endpoints()):
            raise Misplaced(("sip", "listen"), "tls:// needs a certificate: name it in sip.tls.certificate")
        return self

    def endpoints(self) -> list[Endpoint]:
        """The listen addresses, taken apart."""
        matches = [match for text in self.listen if (match := _LISTEN.match(text))]
        return [
            Endpoint(
                transport=match["scheme"],
                host=match["host"].strip("[]"),
                port=int(match["port"]) if match["port"] else (5061 if match["scheme"] == "tls" else 5060),
            )
            for match in matches
        ]


class User(Section):
    """Somebody with a password."""

    password: SecretStr = Field(min_length=1)


class Registrar(Section):
    """Phones that insist on registering: named users with passwords. Off unless there are users."""

    realm: Annotated[str, AfterValidator(_realm)] = "sipbridge"
    users: dict[str, User] = Field(default={})
    expires_s: int = Field(default=3600, ge=60, le=86400)
    """The longest time a registration lasts, in seconds."""
