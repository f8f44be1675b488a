"""A leg on a wooden invitation, with a real phone's RTP on loopback and a clock that is moved by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from bridge.config import Media
from bridge.legs.sip import SipLeg
from bridge.media.pacer import PERIOD, SlotClock
from bridge.media.ports import PortPool
from bridge.sip.offer_answer import answer
from bridge.sip.sdes import Policy
from bridge.sip.sdp import SessionDescription
from tests.media.phone import HOST, Phone
from tests.media.test_ports import free_range


class Invitation:
    """What a leg uses of a call's signalling: everything that it says is kept in `told`."""

    def __init__(self, offer: SessionDescription | None, host: str = HOST, bind_host: str = "0.0.0.0") -> None:
        self.id = "call"
        self.caller = SimpleNamespace(uri=SimpleNamespace(user="alice"))
        self.request = SimpleNamespace(uri=SimpleNamespace(user="600"))
        self.source = (host, 5060)
        self.local_address, self.bind_host = host, bind_host
        self.offer = offer
        self.told: list[str] = []
        self.sent = b""
        """The last description of ours."""
        self.local_sdp = b""
        self.awaits_ack = False
        self.infos: list[tuple[str, bytes]] = []
        self.on_confirmed: Callable[[SessionDescription | None], None]
        self.on_ended: Callable[[str], None]
        self.on_offer: Callable[[SessionDescription | None], bytes | int]
        self.on_answer: Callable[[SessionDescription], None]
        self.on_info: Callable[[str, bytes], int]
        self.on_result: Callable[[int, SessionDescription | None], None]

    def ring(self, offer: bytes = b"") -> None:
        self.told.append("180" if not offer else "180 offer")

    def progress(self, sdp: bytes) -> None:
        self.told.append("183")
        self.sent = sdp

    def answer(self, sdp: bytes) -> None:
        self.told.append("200")
        self.sent = sdp

    def reject(self, status: int, *, headers: object = ()) -> None:
        self.told.append(str(status))

    def hang_up(self, headers: list[tuple[str, str]]) -> None:
        self.told.append(f"bye {headers[0][1]}")

    def reinvite(self, sdp: bytes, on_result: Callable[[int, SessionDescription | None], None]) -> None:
        self.told.append("reinvite")
        self.sent = sdp
        self.on_result = on_result

    def info(self, kind: str, body: bytes, on_result: Callable[[int], None] = lambda status: None) -> None:
        self.infos.append((kind, body))


def description(text: str) -> SessionDescription:
    """A description of a phone from its m= sections."""
    head = "v=0\r\no=phone 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    return SessionDescription.parse((head + text).encode())


class Bench:
    """A leg, its invitation and a phone whose offer it got."""

    def __init__(
        self,
        formats: str = "0 8 101",
        *,
        offer: SessionDescription | None = None,
        delayed: bool = False,
        srtp: Policy = "off",
        bind_host: str = "0.0.0.0",
    ) -> None:
        self.phone = Phone()
        made = None if delayed else offer or self.offer(formats)
        self.invitation = Invitation(made, bind_host=bind_host)
        self.slots = SlotClock(early=1e-6)  # floats make deadlines a little later than they are
        self.pool = PortPool(*free_range(4))
        invitation, slots, media = self.invitation, self.slots, Media(rtp_timeout_s=30)
        self.leg = SipLeg(invitation, pacer=slots, ports=self.pool, media=media, srtp=srtp)  # type: ignore[arg-type]
        self.audio: list[bytes] = []
        self.digits: list[str] = []
        self.ended: list[str] = []
        self.laws: list[str] = []
        self.now = float(int(time.monotonic()))  # the streams ask that clock themselves when something is agreed on

    def offer(self, formats: str = "0 8 101", *lines: str, protocol: str = "RTP/AVP", port: int | None = None) -> Any:
        """A description of the phone; payload types 96 and 101 are events."""
        events = [f"rtpmap:{number} telephone-event/8000" for number in (96, 101) if str(number) in formats.split()]
        section = f"m=audio {self.phone.address[1] if port is None else port} {protocol} {formats}\r\n"
        return description(section + "".join(f"a={line}\r\n" for line in (*events, *lines)))

    def connected(self) -> Bench:
        """Prepared, answered and acknowledged."""
        self.prepared()
        self.leg.answer()
        self.invitation.on_confirmed(None)
        return self

    def prepared(self) -> Bench:
        self.leg.prepare()
        self.leg.on_audio = self.audio.append
        self.leg.on_digit = self.digits.append
        self.leg.on_ended = lambda word, detail: self.ended.append(word)
        self.leg.on_format = lambda: self.laws.append(self.leg.codec.name)
        return self

    @property
    def ours(self) -> SessionDescription:
        """Our last description that went out."""
        return SessionDescription.parse(self.invitation.sent)

    def reinvited(self, offer: SessionDescription | None) -> SessionDescription:
        """Our description that answers one of the phone in the call."""
        reply = self.invitation.on_offer(offer)
        assert isinstance(reply, bytes)
        self.invitation.sent = reply
        return self.ours

    def taken(self, formats: str = "0 101", direction: str = "sendrecv") -> None:
        """The phone takes our offer."""
        self.invitation.on_result(200, self.offer(formats, direction))

    def far_answer(self) -> SessionDescription:
        """What a phone of our own kind answers to our offer."""
        return answer(self.ours, HOST, self.phone.address[1], session_id=9, srtp="optional")[0]

    def tick(self, slots: int = 1) -> None:
        for _ in range(slots):
            self.now = round((self.now + PERIOD) * 1000) / 1000
            self.slots.run(lambda: self.now + 1e-6)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.leg.release()
        self.phone.sock.close()
