"""What two descriptions come to as the terms of a stream."""

import pytest

from bridge.legs.agreement import terms_of
from bridge.sip.offer_answer import answer
from bridge.sip.sdp import SessionDescription

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP {number}\r\na=rtpmap:{number} {encoding}\r\na=ptime:{ptime}\r\n"
)


@pytest.mark.parametrize(
    ("encoding", "asked", "sent"),
    [("opus/48000/2", 30, 20), ("opus/48000/2", 40, 40), ("opus/48000/2", 10, 10), ("G722/8000", 30, 30)],
)
def test_packets_are_of_a_length_that_the_codec_has(encoding: str, asked: int, sent: int) -> None:
    """Opus has no frames of 30 ms (RFC 6716 section 2.1.4)."""
    text = OFFER.format(number=96, encoding=encoding, ptime=asked)
    _, agreed = answer(SessionDescription.parse(text.encode()), "192.0.2.2", 5000, [["OPUS", "G722"]], session_id=1)
    assert terms_of(agreed, "192.0.2.1").ptime_ms == sent
