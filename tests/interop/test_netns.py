"""The service on one host, a phone on another, and a bad line of real IP packets between them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.phones.namespaces import FAR, NEAR, NoNamespaces, TwoHosts, udp_payload
from tests.phones.rawphone import RawPhone
from tests.phones.relay import Profile
from tests.phones.wire import parse
from tests.service.rig import bench, ended
from tests.service.test_bad_network import (
    AFTER_S,
    SCRIPT,
    Call,
    assert_agent_whole,
    assert_as_long_as_the_call,
    assert_counted,
    assert_heard_once,
    assert_in_place,
    speech,
    uncollected,
)

pytestmark = pytest.mark.interop

PORT = 5060
BAD = Profile(loss=0.03, jitter_ms=30, in_order=False, straggle=0.02, straggle_ms=45)


@contextlib.contextmanager
def two_hosts(profile: Profile, seed: int) -> Iterator[TwoHosts]:
    """They, or the test is skipped with the reason."""
    try:
        hosts = TwoHosts(profile, profile, seed=seed).__enter__()
    except NoNamespaces as error:
        pytest.skip(str(error))
    try:
        yield hosts
    finally:
        hosts.__exit__()


async def a_call(folder: Path, hosts: TwoHosts, law: str) -> Call:
    """Speak over the line; the scripted agent is on the service's host."""
    sip = {"listen": [f"udp://{NEAR}:{PORT}"]}
    with hosts.at(FAR):
        phone = await RawPhone(host=FAR, law=law).__aenter__()
    with hosts.at(NEAR):
        async with bench(folder, SCRIPT, agent={"greeting": "Begin."}, sip=sip) as (service, server):
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_exit(phone)
                with uncollected():
                    assert (await phone.invite(NEAR, PORT)).status == 200
                    assert phone.wire.to is not None and phone.wire.to[0] == NEAR
                    await phone.wire.play(speech(0, phone.wire.payload_type))
                    # What straggles is on its way no longer than that.
                    await asyncio.sleep(BAD.straggle_ms / 1000 + AFTER_S)
                    assert (await phone.bye()).status == 200
                    await asyncio.sleep(0.2)
            session = await ended(server.sessions[0])
            await service.until('sipbridge_calls_total{reason="caller_hung_up"}', 1)
            (record,) = service.events("call.ended")
    return Call(0, hosts.up, hosts.down, phone, session, record)


@pytest.mark.parametrize(
    ("law", "bad"), [("PCMU", False), ("PCMU", True), ("PCMA", True)], ids=["perfect", "bad", "bad_pcma"]
)
async def test_a_call_between_two_hosts(tmp_path: Path, law: str, bad: bool) -> None:
    with two_hosts(BAD if bad else Profile(), seed=41) as hosts:
        call = await a_call(tmp_path, hosts, law)
    assert (bool(call.lost_speech), call.up.waited > 300) == (bad, bad), "the line was what it should be"
    assert bad or not call.changed
    assert_in_place(call)
    assert_as_long_as_the_call(call)
    assert_heard_once(call)
    assert_counted(call)
    assert_agent_whole(call, [parse(udp_payload(packet)) for packet in call.down.came])


def test_the_two_hosts_see_nothing_but_each_other() -> None:
    with two_hosts(Profile(), seed=1) as hosts:
        with hosts.at(NEAR), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near:
            near.bind((NEAR, 4000))
            near.settimeout(2)
            with hosts.at(FAR), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
                far.sendto(b"\x80\0" + bytes(20), (NEAR, 4000))
                datagram, source = near.recvfrom(100)
                assert (len(datagram), source[0]) == (22, FAR)
                with pytest.raises(OSError, match="unreachable"):
                    far.sendto(b"x", ("192.0.2.1", 9))
            with pytest.raises(OSError, match="assign"):
                socket.create_server((FAR, 4001))
        assert len(hosts.up.came) == 1 and udp_payload(hosts.up.came[0])[:2] == b"\x80\0"
        assert [name for _, name in socket.if_nameindex()] != ["lo", "line"], "this thread is back where it was"
