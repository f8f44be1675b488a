"""The small registrar for phones (RFC 3261 section 10.3)."""

from __future__ import annotations

import asyncio
import time

import pytest

from bridge.sip.digest import Authority
from bridge.sip.registrar import Registrar
from tests.sip.phone import port_of, until

from .scenario import Sipp
from .serving import serving

pytestmark = pytest.mark.phone

PHONE = """Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:alice@[remote_ip]>;tag=[pid]t[call_number]
To: <sip:alice@[remote_ip]>
Call-ID: [call_id]"""
USERS = {"alice": "secret", "bob": "secret"}


def registrar() -> Registrar:
    """One that SIPp 3.6, which looks at the first challenge alone, can register with."""
    authority = Authority("here", USERS, time.monotonic, algorithms=["MD5"])
    return Registrar("here", USERS, time.monotonic, authority=authority)


async def test_a_phone_comes_and_goes(phone: Sipp) -> None:
    kept = registrar()
    async with serving(registrar=kept) as service:
        playing = asyncio.create_task(phone.call("register", port_of(service), phone=PHONE))
        await until(lambda: playing.done() or kept.lookup("alice"))
        ((contact, path),) = kept.lookup("alice")
        assert contact.user == "alice" and path.peer[0] == "127.0.0.1"
        await playing
        assert kept.lookup("alice") == []


@pytest.mark.parametrize(
    ("user", "password", "status"), [("alice", "guess", "401"), ("carol", "secret", "401"), ("bob", "secret", "403")]
)
async def test_a_phone_that_may_not(phone: Sipp, user: str, password: str, status: str) -> None:
    kept = registrar()
    async with serving(registrar=kept) as service:
        slots = {"user": user, "password": password, "status": status}
        await phone.call("register_wrong", port_of(service), phone=PHONE, **slots)
        assert len(kept) == 0
