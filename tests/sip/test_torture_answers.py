"""Torture of the calling side: answers in the spirit of RFC 4475, and what a call of ours makes of each."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from .phone import HOST, OFFER, agent, bare, until
from .stack import OFFER as SDP

Change = Callable[[str], str]


def same(text: str) -> str:
    return text


def line(name: str, value: str) -> Change:
    """Replace one line of the answer."""
    return lambda text: re.sub(rf"(?m)^{name}:.*?\r\n", lambda found: value, text)


def start(value: str) -> Change:
    return lambda text: value + "\r\n" + text.partition("\r\n")[2]


def more(value: str) -> Change:
    return lambda text: text.replace("\r\n", f"\r\n{value}\r\n", 1)


# What is an answer, however odd: status and phrase, what changes, what the call makes of it.
UNDERSTOOD: dict[str, tuple[Change, str]] = {
    "plain": (same, "answered"),
    "a phrase in Cyrillic": (start("SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое"), "answered"),
    "an empty phrase": (start("SIP/2.0 200 "), "answered"),
    "no phrase and no space": (start("SIP/2.0 200"), "answered"),
    "a phrase in Latin-1": (start("SIP/2.0 200 D\udcfcrfen"), "answered"),
    "a phrase with terminal codes": (start("SIP/2.0 486 \x1b[2JBusy"), "failed 486 \ufffd[2JBusy"),
    "lower-case version": (start("sip/2.0 200 OK"), "answered"),
    "an unknown success": (start("SIP/2.0 299 Fine"), "answered"),
    "an unknown progress": (start("SIP/2.0 199 Perhaps"), "ringing 199"),
    "trying": (start("SIP/2.0 100 Trying"), "ringing -"),
    "ringing": (start("SIP/2.0 180 Ringing"), "ringing 180"),
    "progress without a tag": (
        lambda text: start("SIP/2.0 180 Ringing")(text.replace(";tag=far", "")),
        "ringing 180",
    ),
    "an unknown refusal": (start("SIP/2.0 499 Odd"), "failed 499 Odd"),
    "an unknown failure everywhere": (start("SIP/2.0 699 Odd"), "failed 699 Odd"),
    "moved to nowhere": (lambda text: start("SIP/2.0 302 Gone")(line("Contact", "")(text)), "failed 302 Gone"),
    "a challenge without a challenge": (start("SIP/2.0 401 Who"), "failed 401 Who"),
    "a challenge of nonsense": (
        lambda text: start("SIP/2.0 407 Who")(more('Proxy-Authenticate: Digest realm="x, nonce=,,')(text)),
        "failed 407 Who",
    ),
    "a Retry-After beyond time": (
        lambda text: start("SIP/2.0 480 Later")(more("Retry-After: 99999999999999999999999")(text)),
        "failed 480 Later",
    ),
    "a Warning of nonsense": (more('Warning: 999 "'), "answered"),
    "compact and folded": (
        lambda text: text.replace("\r\nTo:", "\r\nt\t:\r\n ").replace("\r\nCall-ID:", "\r\ni :"),
        "answered",
    ),
    "line feeds alone": (
        lambda text: "\n".join(text.split("\r\n", text.count("\r\n") - SDP.count("\r\n"))),
        "answered",
    ),
    "empty lines in front": (lambda text: "\r\n\r\n" + text, "answered"),
    "octets after the body": (lambda text: text + "SIP/2.0 500 No\r\n\r\n", "answered"),
    "no Content-Length": (line("Content-Length", ""), "answered"),
    "an unknown body": (line("Content-Type", "Content-Type: application/unknown\r\n"), "answered"),
    "a description of nonsense": (lambda text: text.replace("v=0", "v=9").replace("m=audio", "m= udio"), "answered"),
    "Require in an answer": (more("Require: nothingSupportsThis"), "answered"),
    "no tag at all, RFC 2543": (lambda text: text.replace(";tag=far", ""), "answered"),
    "a strange scheme in To": (lambda text: re.sub(r"To: <[^>]*>", "To: <isbn:12>", text), "answered"),
}

# What is no answer to our request: the word under which it is counted, the call goes on waiting.
DROPPED: dict[str, tuple[Change, str]] = {
    "another branch": (lambda text: text.replace("branch=z9", "branch=Z8"), "stray_response"),
    "no branch": (lambda text: re.sub(r";branch=[^;\r]*", "", text), "stray_response"),
    "the CSeq of another method": (line("CSeq", "CSeq: 1 BYE\r\n"), "stray_response"),
    "a broadcast address in Via": (
        line("Via", "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23\r\n"),
        "stray_response",
    ),
    "a code beyond SIP": (start("SIP/2.0 4294967301 better not break the receiver"), "not_sip"),
    "a code of two digits": (start("SIP/2.0 20 OK"), "not_sip"),
    "a code of 700": (start("SIP/2.0 700 OK"), "not_sip"),
    "a code in other digits": (start("SIP/2.0 ٢٠٠ OK"), "not_sip"),
    "another version": (start("SIP/3.0 200 OK"), "version"),
    "no Via": (line("Via", ""), "missing_via"),
    "no From": (line("From", ""), "missing_from"),
    "no To": (line("To", ""), "missing_to"),
    "no Call-ID": (line("Call-ID", ""), "missing_call-id"),
    "no CSeq": (line("CSeq", ""), "missing_cseq"),
    "two CSeqs": (more("CSeq: 1 INVITE"), "malformed"),
    "a CSeq beyond its range": (line("CSeq", "CSeq: 9292394834772304023312 INVITE\r\n"), "malformed"),
    "an open quote": (line("To", 'To: "Bob <sip:b@h>;tag=far\r\n'), "malformed"),
    "a body that was cut": (lambda text: text[:-20], "short_body"),
    "a negative Content-Length": (line("Content-Length", "Content-Length: -1\r\n"), "malformed"),
    "a null in a header": (more("Subject: \0"), "control_character"),
    "no end of headers": (lambda text: text.partition("\r\n\r\n")[0], "malformed"),
    "more headers than an answer has": (more("\r\n".join(["X: y"] * 300)), "too_many_headers"),
}


async def played(change: Change) -> tuple[str, dict[str, int]]:
    """What a call makes of an answer that was changed on its way, and what was dropped."""
    heard: list[str] = []
    async with agent() as service, bare(service) as far:
        call = service.invite(f"sip:600@{HOST}:{far.port}", sdp=OFFER)
        call.on_ringing = lambda status: heard.append(f"ringing {status}")
        call.on_answered = lambda description: heard.append("answered")
        call.on_failed = lambda failure: heard.append(f"failed {failure.status} {failure.phrase}")
        invite = (await far.received.get()).decode()
        echoed = re.findall(r"(?m)^(?:Via|From|Call-ID|CSeq|Record-Route):.*\r\n", invite)
        to = re.findall(r"(?m)^To:.*", invite)[0].strip()
        text = (
            f"SIP/2.0 200 OK\r\n{''.join(echoed)}{to};tag=far\r\nContact: <sip:far@{HOST}:{far.port}>\r\n"
            f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}"
        )
        far.send(change(text).encode("utf-8", "surrogateescape"))
        stats = service.stats
        await until(lambda: heard or stats.dropped or stats.responses.get(100))
        return (heard or ["ringing -"])[0], dict(stats.dropped)


@pytest.mark.parametrize("name", UNDERSTOOD)
async def test_what_is_an_answer_is_understood(name: str) -> None:
    change, outcome = UNDERSTOOD[name]
    assert await played(change) == (outcome, {})


@pytest.mark.parametrize("name", DROPPED)
async def test_what_is_no_answer_changes_nothing(name: str) -> None:
    change, reason = DROPPED[name]
    assert await played(change) == ("ringing -", {reason: 1})


@pytest.mark.parametrize(
    "change",
    [line("Contact", ""), line("Contact", "Contact: *\r\n"), more("Record-Route: <nonsense>")],
    ids=["no Contact", "a Contact that is everyone", "a Record-Route of nonsense"],
)
async def test_an_answer_that_leads_nowhere_ends_the_call(change: Change) -> None:
    outcome, dropped = await played(change)
    assert outcome.startswith("failed 400")
    assert dropped == {"malformed_response": 1}
