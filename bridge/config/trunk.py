"""A trunk: a PBX or carrier that sends us calls, where we register, and whom it lets call."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from .section import AsList, AsWord, Network, Section, Server
from .sip import User

MAX_HEADERS = 8
"""Headers one trunk hands over: with the call's own variables they fill the 16 pairs a session's metadata may have."""


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
    user: str = Field(min_length=1)
    domain: str | None = None
    """The host of the address of record; default: the first server's."""
    auth_user: str | None = None
    """The digest's user name; default: `user`."""
    password: SecretStr
    expires_s: int = Field(default=300, ge=30, le=86400)

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
    calls: int | None = Field(default=None, ge=1)
    """Calls at a time. Takes the place of limits.per_source for this trunk's peers."""
    calls_per_second: float | None = Field(default=None, gt=0)
    srtp: Annotated[Literal["off", "optional", "required"], AsWord] = "off"
    headers: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9\-.!%*_+`'~]{1,64}$")], ...], AsList, AfterValidator(_headers)
    ] = ()
    """Headers of the INVITE that the agent, the session's metadata and the record get."""

    @property
    def takes_private_networks(self) -> bool:
        """Whether nothing says who calls on this trunk."""
        return not (self.peers or self.users or self.register_)
