"""A trunk: a PBX or carrier that sends us calls, where we register, and whom it lets call."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from .section import AsList, AsWord, Domain, Line, Network, Section, Server, domain_of
from .sip import Advertise, User

_HEADER = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]{1,64}\Z")
MAX_HEADERS = 8
"""Headers one trunk hands over: with the call's own variables they fill the 16 pairs a session's metadata may have."""


def _header(name: str) -> str:
    if not _HEADER.match(name):
        raise ValueError("write the name of a header, for example X-Customer")
    return name


def _headers(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > MAX_HEADERS:
        raise ValueError(f"at most {MAX_HEADERS} headers")
    if len({name.lower() for name in names}) < len(names):
        raise ValueError("a header stands in the list twice: keep one")
    return names


def _registers(value: Any) -> Any:
    """One registration, or a list of them."""
    return [value] if isinstance(value, dict) else value


class Register(Section):
    """One account at a PBX or carrier that wants us to register."""

    server: Annotated[tuple[Server, ...], AsList, Field(min_length=1)]
    """In the order they are tried; whole URIs after reading."""
    user: Annotated[Line, Field(min_length=1)]
    """With an @ in it, and without `domain`, a whole address of record."""
    domain: Domain | None = None
    """The host of the address of record; default: the one in `user`, else the first server's."""
    auth_user: Line | None = None
    """The digest's user name; default: `user`."""
    password: SecretStr
    expires_s: int = Field(default=300, ge=30, le=86400)

    @model_validator(mode="after")
    def _user_names_a_host(self) -> Register:
        try:
            self.address_of_record  # noqa: B018 - it is read for its error
        except ValueError:
            words = f"user {self.user!r}: behind @ stands a host, as in 600@pbx.example; if it is none, set `domain`"
            raise ValueError(words) from None
        return self

    @property
    def address_of_record(self) -> tuple[str, str | None]:
        """User and host; None: the first server's."""
        user, at, host = self.user.rpartition("@")
        if not at or self.domain is not None:
            return self.user, self.domain
        if not user:
            raise ValueError("no user")
        return user, domain_of(host)

    @property
    def credentials(self) -> tuple[str, str]:
        """User name and password for the digest."""
        return self.auth_user or self.user, self.password.get_secret_value()


class Trunk(Section):
    """A peer that sends us calls."""

    peers: Annotated[tuple[Network, ...], AsList] = ()
    """Networks this trunk's calls come from. Without peers, users and register: private networks."""
    users: dict[str, User] = Field(default={})
    """Who may call from anywhere, with a password."""
    register_: Annotated[tuple[Register, ...], BeforeValidator(_registers)] = Field(default=(), alias="register")
    """Where we register; the server's addresses count as peers."""
    proxy: Server | None = None
    """Where calls of ours go first; default: the server we register at, else the target itself."""
    advertise: Advertise | None = None
    """Our address in Contact, Via and SDP on this trunk; default: what sip.advertise says."""
    calls: int | None = Field(default=None, ge=1)
    """Calls at a time. Takes the place of limits.per_source for this trunk's peers."""
    calls_per_second: float | None = Field(default=None, gt=0)
    srtp: Annotated[Literal["off", "optional", "required"], AsWord] = "off"
    headers: Annotated[tuple[Annotated[str, AfterValidator(_header)], ...], AsList, AfterValidator(_headers)] = ()
    """Headers of the INVITE that the agent, the session's metadata and the record get."""

    @property
    def takes_private_networks(self) -> bool:
        """Whether nothing says who calls on this trunk."""
        return not (self.peers or self.users or self.register_)
