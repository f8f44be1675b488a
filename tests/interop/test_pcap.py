"""SIPp plays a capture: speech and RFC 4733 digits in one stream, as a real phone mixed them."""

import os
import random
import struct
from pathlib import Path

import pytest

from bridge.media.dtmf import DtmfSender
from bridge.media.rtp import RtpWriter
from tests.phones.sipp import CALLER, Sipp
from tests.service.rig import bench, ended

pytestmark = [pytest.mark.interop, pytest.mark.phone]

PLAYS = CALLER.replace("[rtpstream_audio_port]", "[media_port]").replace(
    'rtp_stream="@FILE@,1,@PT@"', 'play_pcap_audio="call.pcap"'
)
SILENCE = b"\xff" * 160


class Capture:
    """A capture file of one RTP stream, one packet per 20 ms."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb")
        self.file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        self.writer = RtpWriter(0x5EED, 65_000, 0xFFFF_0000)
        self.slot = 0

    def say(self, audio: bytes) -> None:
        for at in range(0, len(audio), 160):
            self._write(self.writer.packet(audio[at : at + 160], 0, 160))

    def press(self, digits: str) -> None:
        """Each key for 100 ms, its end three times, then 60 ms of silence."""
        for digit in digits:
            key, begun = DtmfSender(digit), self.writer.timestamp
            while (pulled := key.pull()) is not None:
                now, self.writer.timestamp = self.writer.timestamp, begun
                packet = self.writer.packet(pulled[0], 101, 0, pulled[1])
                self.writer.timestamp = now
                self.writer.skip(160)
                self._write(packet)
            self.say(SILENCE * 3)

    def _write(self, rtp: bytes) -> None:
        udp = struct.pack("!HHHH", 4000, 4000, 8 + len(rtp), 0) + rtp
        address = bytes((127, 0, 0, 1))
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, address, address) + udp
        frame = bytes(12) + b"\x08\x00" + ip
        seconds, millis = divmod(self.slot * 20, 1000)
        self.file.write(struct.pack("<IIII", seconds, millis * 1000, len(frame), len(frame)) + frame)
        self.slot += 1


async def test_speech_and_digits_of_a_capture(tmp_path: Path, sipp: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("SIPp plays a capture through a raw socket: root only")
    folder = tmp_path / "sipp"
    folder.mkdir()
    before, after = (random.Random(seed).randbytes(8000) for seed in (1, 2))
    capture = Capture(folder / "call.pcap")
    capture.say(SILENCE * 25 + before)
    capture.press("42#")
    capture.say(after + SILENCE * 25)
    capture.file.close()
    async with bench(tmp_path, "vad: false") as (service, server):
        with Sipp.calling("127.0.0.1", service.sip_port, folder, seconds=5, scenario=PLAYS) as phone:
            result = await phone.result()
        assert result.ok, result.log
        session = await ended(server.sessions[0])
        metrics = await service.metrics()
    heard = bytes(session.input_audio)
    begins, ends = heard.find(before), heard.find(after)
    assert begins >= 0 and ends >= 0
    # Three keys of 140 ms on the wire and 60 ms behind each: the model's time line has all of it, as silence.
    assert heard[begins + len(before) : ends] == SILENCE * 30
    said = [
        event["item"]["content"][0]["text"] for _, event in session.received if event["type"].endswith("item.create")
    ]
    assert said == ["The caller pressed 4 2 # on the keypad."]
    assert metrics["sipbridge_digits_total"] == 3
    assert metrics["sipbridge_rtp_lost_total"] == metrics["sipbridge_rtp_late_total"] == 0
