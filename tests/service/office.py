"""A telephone system of the test: a registrar at an address of its own that also calls and is called."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Self

from bridge.sip.digest import Authority
from bridge.sip.errors import SipError
from bridge.sip.gate import Admitted, Verdict
from bridge.sip.invitation import Invitation
from bridge.sip.message import Request
from bridge.sip.offer_answer import offer
from bridge.sip.outgoing import OutgoingCall
from bridge.sip.registrar import Registrar
from bridge.sip.ua import ListenAddress, UserAgent
from tests.phones.processes import free_signalling_port

HOST = "127.0.0.2"
USERS = {"600": "secret", "601": "secret"}


class Office:
    """`async with Office() as office:`. `registers` are the REGISTERs that came, challenged ones included."""

    def __init__(
        self,
        *,
        host: str = HOST,
        transports: Sequence[str] = ("udp", "tcp"),
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        minimum_s: int = 1,
        maximum_s: int = 60,
        headers: Sequence[tuple[str, str]] = (),
        on_invite: Callable[[Invitation], None] = lambda invitation: invitation.reject(486),
    ) -> None:
        self.host = host
        self.port = free_signalling_port(host)
        self.registers: list[Request] = []
        self.invites: list[Request] = []
        authority = Authority("office.test", USERS, time.monotonic, algorithms=algorithms)
        self.registrar = Registrar(
            "office.test",
            USERS,
            time.monotonic,
            authority=authority,
            minimum_s=minimum_s,
            maximum_s=maximum_s,
            headers=headers,
        )
        self.agent = UserAgent(
            listen=[ListenAddress(transport, host, self.port) for transport in transports],
            on_invite=on_invite,
            gate=self,
            registrar=self.registrar,
        )

    async def __aenter__(self) -> Self:
        await self.agent.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.agent.close()

    def uri(self, transport: str = "udp") -> str:
        """Where to register."""
        return f"sip:{self.host}:{self.port};transport={transport}"

    def account(self, user: str = "600", password: str = "secret", transport: str = "udp", **more: object) -> object:
        """A `register` of the service's configuration."""
        return {"server": self.uri(transport), "user": user, "password": password} | more

    def call(self, target: str) -> OutgoingCall:
        """Call it; nothing is heard or said."""
        return self.agent.invite(target, sdp=bytes(offer(self.host, 40000, session_id=1)))

    async def registered(self, user: str = "600", within: float = 10) -> str:
        """The contact of a user, once it is there."""
        async with asyncio.timeout(within):
            while not (found := self.registrar.lookup(user)):
                await asyncio.sleep(0.02)
        return str(found[0][0])

    async def left(self, user: str = "600", within: float = 10) -> None:
        """Until nobody is registered as a user any more."""
        async with asyncio.timeout(within):
            while self.registrar.lookup(user):
                await asyncio.sleep(0.02)

    # The gate

    def judge(self, request: Request, source: tuple[str, int], transport: str) -> Verdict:
        """Remember it and go on."""
        if request.method == "REGISTER":
            self.registers.append(request)
        elif request.method == "INVITE":
            self.invites.append(request)
        return Admitted("")

    def refused(self, request: Request, source: tuple[str, int], error: SipError) -> SipError:
        return error

    def answers(self, host: str) -> bool:
        """Yes."""
        return True
