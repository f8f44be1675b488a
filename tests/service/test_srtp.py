"""SRTP with the service as a user configures it: refused, taken where offered, or asked for."""

from __future__ import annotations

import asyncio
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from bridge.media.rtp import RtpPacket
from bridge.media.srtp import Opener, Sealer
from bridge.sip.sdes import Crypto
from tests.phones.rawphone import RawPhone
from tests.phones.wire import Wire, frames, silence
from tests.service.rig import bench, ended
from tests.service.test_phones import SAYS_A_SENTENCE, SENTENCE_MS, assert_carried, counter, speech_like

SUITE = "AES_CM_128_HMAC_SHA1_80"


def trunk(srtp: str) -> dict[str, Any]:
    return {"pbx": {"peers": ["127.0.0.0/8"], "srtp": srtp}}


class SecureWire(Wire):
    """Protects what it sends; what it got opens afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.crypto = Crypto.new(1, SUITE)
        self._sealer = Sealer(SUITE, self.crypto.key)

    def send_raw(self, datagram: bytes, to: tuple[str, int] | None = None) -> None:
        super().send_raw(self._sealer.seal(datagram), to)

    def opened(self, answer: str) -> list[RtpPacket]:
        """Every packet, with the key of the answer; RtpError when one was not protected with it."""
        line = re.search(r"^a=crypto:(.*?)\r?$", answer, re.MULTILINE)
        theirs = Crypto.parse(line[1]) if line is not None else None
        assert theirs is not None and (theirs.tag, theirs.suite) == (1, SUITE)
        opener = Opener(SUITE, theirs.key)
        return [
            opener.open(
                struct.pack(
                    "!BBHII", 0x80, came.payload_type | came.marker << 7, came.sequence, came.timestamp, came.ssrc
                )
                + came.payload
            )
            for came in self.packets
        ]


def protected(phone: RawPhone, wire: SecureWire) -> str:
    return phone.sdp(extra=f"a=crypto:{wire.crypto.value}\r\n").replace("RTP/AVP", "RTP/SAVP")


@pytest.mark.parametrize("srtp", ["optional", "required"])
async def test_a_protected_call(tmp_path: Path, srtp: str) -> None:
    said, wire = speech_like(1), SecureWire()
    async with bench(tmp_path, SAYS_A_SENTENCE, agent={"greeting": "Begin."}, trunks=trunk(srtp)) as (service, server):
        async with RawPhone(wire=wire) as phone:
            answer = await phone.invite("127.0.0.1", service.sip_port, sdp=protected(phone, wire))
            assert answer.status == 200 and " RTP/SAVP 0 101" in answer.body
            await wire.play(frames(said))
            await wire.play(frames(silence(2)))
            same = await phone.in_dialog("INVITE", body=protected(phone, wire))
            assert re.findall(r"a=crypto.*", same.body) == re.findall(r"a=crypto.*", answer.body)
            await phone.bye()
            heard = b"".join(packet.payload for packet in wire.opened(answer.body))
        assert_carried(await ended(server.sessions[0]), said)
        assert counter(1, SENTENCE_MS * 8) in heard
        assert "inline:" not in service.log.read_text() and wire.crypto.value.split("inline:")[1] not in service.said()


@pytest.mark.parametrize(("srtp", "protects"), [("off", True), ("required", False)])
async def test_a_call_that_the_configuration_does_not_take(tmp_path: Path, srtp: str, protects: bool) -> None:
    wire = SecureWire()
    async with bench(tmp_path, "vad: false", trunks=trunk(srtp)) as (service, server):
        async with RawPhone(wire=wire) as phone:
            offer = protected(phone, wire) if protects else phone.sdp()
            refused = await phone.invite("127.0.0.1", service.sip_port, sdp=offer)
            assert refused.status == 488 and refused.header("Warning").startswith("302 ")
        await asyncio.sleep(0.1)
        assert server.sessions == []
