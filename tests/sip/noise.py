"""What strangers send: a corpus of every kind of message, and a seeded dice that spoils it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from .stack import OFFER, invite, request

MULTIPART = (
    "--b\r\nContent-Type: application/sdp\r\nContent-Disposition: session;handling=required\r\n\r\n"
    f"{OFFER}\r\n--b\r\nContent-Type: application/isup;version=x\r\n\r\n\x01\x02\r\n--b--\r\n"
)
VIDEO = OFFER + "a=group:BUNDLE 0 1\r\na=ice-ufrag:x\r\nm=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\na=mid:1\r\n"
HELD = OFFER.replace("c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0") + "a=sendonly\r\n"
SECURE = OFFER.replace("RTP/AVP", "RTP/SAVP") + f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{'A' * 40}\r\n"
FRAGMENT = "SIP/2.0 180 Ringing\r\n"
DIGEST = 'Digest username="a", realm="r", nonce="n", uri="sip:h", qop=auth, nc=00000001, cnonce="c", response="0"'

OUTSIDE = (
    invite(),
    invite(body=""),
    invite(body=VIDEO),
    invite(body=SECURE),
    invite(body=MULTIPART, kind="multipart/mixed;boundary=b"),
    invite(extra="Record-Route: <sip:p;lr>, <sip:q>\r\nRequire: x\r\n"),
    invite(extra="Supported: timer, 100rel, replaces\r\nSession-Expires: 90;refresher=uac\r\nMin-SE: 90\r\n"),
    invite(extra="Require: 100rel\r\nSupported: timer\r\nSession-Expires: 1800\r\n"),
    invite(extra="Replaces: c1;to-tag=@TAG@;from-tag=a\r\n"),
    invite(extra="P-Asserted-Identity: \"A\" <sip:1@h>\r\nDiversion: <sip:2@h>;reason=busy\r\nPrivacy: id\r\n"),
    invite(extra=f"History-Info: <sip:3@h?Reason=SIP%3Bcause%3D302>;index=1\r\nAuthorization: {DIGEST}\r\n"),
    request("OPTIONS"),
    request("REGISTER", extra=f"Expires: 60\r\nAuthorization: {DIGEST}\r\n"),
    request("REGISTER", extra="Contact: *\r\nExpires: 0\r\n"),
    request("MESSAGE", body="hello", kind="text/plain"),
    request("SUBSCRIBE", extra="Event: dialog\r\nExpires: 60\r\n"),
    request("PUBLISH", body="x", kind="application/pidf+xml"),
    request("REFER", extra="Refer-To: <sip:1@h>\r\n"),
    request("CANCEL"),
    request("ACK"),
    request("BYE"),
)  # fmt: skip
"""Requests that begin something, or would like to."""

INSIDE = (
    request("ACK", to_tag="@TAG@", cseq=1),
    request("ACK", to_tag="@TAG@", cseq=1, body=OFFER),
    request("BYE", to_tag="@TAG@", cseq=9),
    request("CANCEL", to_tag="@TAG@"),
    request("OPTIONS", to_tag="@TAG@", cseq=3),
    invite(to_tag="@TAG@", cseq=4),
    invite(to_tag="@TAG@", cseq=4, body=HELD),
    invite(to_tag="@TAG@", cseq=5, body=""),
    invite(to_tag="@TAG@", cseq=5, body=VIDEO, extra="Session-Expires: 90;refresher=uas\r\nSupported: timer\r\n"),
    request("UPDATE", to_tag="@TAG@", cseq=6, body=OFFER),
    request("UPDATE", to_tag="@TAG@", cseq=6, extra="Session-Expires: 90\r\n"),
    request("PRACK", to_tag="@TAG@", cseq=2, extra="RAck: 1 1 INVITE\r\n"),
    request("INFO", to_tag="@TAG@", cseq=7, body="Signal=5\r\nDuration=160\r\n", kind="application/dtmf-relay"),
    request("INFO", to_tag="@TAG@", cseq=7, body="5", kind="application/dtmf"),
    request("REFER", to_tag="@TAG@", cseq=8, extra="Refer-To: <sip:1@h?Replaces=x%3Bto-tag%3D1>\r\n"),
    request(
        "NOTIFY", to_tag="@TAG@", cseq=8, body=FRAGMENT, kind="message/sipfrag;version=2.0",
        extra="Event: refer\r\nSubscription-State: active;expires=60\r\n",
    ),
    request("MESSAGE", to_tag="@TAG@", cseq=8, body="x", kind="text/plain"),
)  # fmt: skip
"""Requests inside a dialog; @TAG@ is our tag of it."""

ANSWER = (
    "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKx\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\n"
    "Call-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:a@192.0.2.1>\r\n\r\n"
)
SEEDS = (*OUTSIDE, *INSIDE, ANSWER)

SPICE = (
    *(b"\x00", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b"\r\n ", b" ", b"\t", b"\xff\xfe", b"\xe2\x98\x8e"),
    *(b";", b",", b'"', b"\\", b"<", b">", b":", b"=", b"@", b"%", b"%00", b"[", b"]", b"/", b"?", b"*", b"-1"),
    *(b"9" * 40, b"=" * 3, b";" * 9, b"," * 9),
)
NUMBER = re.compile(rb"\d+")
NUMBERS = (b"0", b"-1", b"1", b"65536", b"2147483648", b"4294967296", b"1" + b"0" * 30, b"1e9", b"", b"0x10")
STATUSES = (
    *(100, 180, 183, 199, 200, 202, 299, 301, 302, 380, 400, 401, 403, 404, 407, 408, 415, 420, 421, 422, 423),
    *(480, 481, 486, 487, 488, 489, 491, 499, 500, 501, 503, 504, 513, 580, 600, 603, 604, 606, 607, 699),
)


def spoiled(dice: random.Random, data: bytes) -> bytes:
    """The message with one to four things wrong."""
    for _ in range(dice.choices((1, 2, 3, 4), (8, 4, 2, 1))[0]):
        data = dice.choices(SPOILERS, WEIGHTS)[0](dice, data)
    return data


def _sprinkled(dice: random.Random, data: bytes) -> bytes:
    at = dice.randrange(len(data) + 1)
    piece = dice.choice(SPICE) if dice.random() < 0.7 else dice.randbytes(3)
    return data[:at] + piece + data[at + dice.randrange(12) :]


def _cut(dice: random.Random, data: bytes) -> bytes:
    return data[: dice.randrange(1, len(data) + 1)]


def _miscounted(dice: random.Random, data: bytes) -> bytes:
    found = list(NUMBER.finditer(data))
    if not found:
        return data
    spot = dice.choice(found)
    return data[: spot.start()] + dice.choice(NUMBERS) + data[spot.end() :]


def _shuffled(dice: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    at, to = dice.randrange(len(lines)), dice.randrange(len(lines))
    chosen = lines[at] if dice.random() < 0.5 else lines.pop(at)
    lines.insert(to, chosen)
    return b"\r\n".join(lines)


def _without_a_line(dice: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    del lines[dice.randrange(len(lines))]
    return b"\r\n".join(lines) or data


def _swollen(dice: random.Random, data: bytes) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + data[at : at + 20] * dice.randrange(2, 60) + data[at:]


SPOILERS = (_sprinkled, _cut, _miscounted, _shuffled, _without_a_line, _swollen)
WEIGHTS = (50, 5, 20, 10, 10, 5)


def noise(dice: random.Random, rounds: int) -> Iterator[bytes]:
    """Random bytes and spoiled messages, the same for the same seed."""
    for _ in range(rounds):
        if dice.random() < 0.2:
            yield dice.randbytes(dice.randrange(1, 300))
        else:
            yield spoiled(dice, dice.choice(SEEDS).encode())
