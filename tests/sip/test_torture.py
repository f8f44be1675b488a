"""Torture in the spirit of RFC 4475 and RFC 5118: each message with the outcome that the RFCs ask for."""

from __future__ import annotations

import re

import pytest

from bridge.sip.ua import UserAgent

from .phone import HOST, Answering, agent, bare, until
from .stack import OFFER as SDP

URI = f"sip:600@{HOST}"
VIA = f"Via: SIP/2.0/UDP {HOST}:@PORT@;branch=z9hG4bKt"
LINES = {
    "via": VIA,
    "max_forwards": "Max-Forwards: 70",
    "from_": "From: <sip:a@h>;tag=1",
    "to": "To: <sip:600@h>",
    "call_id": "Call-ID: torture",
    "cseq": "CSeq: 1 INVITE",
    "contact": f"Contact: <sip:a@{HOST}:@PORT@>",
    "content_type": "Content-Type: application/sdp",
}
LONG = "0123456789" * 30


def message(start: str = f"INVITE {URI} SIP/2.0", /, *, body: str = SDP, end: str = "\r\n\r\n", **changes: str) -> str:
    """An INVITE without lines given as "", with others replaced or added; `start` may be a method alone."""
    if " " not in start:
        changes = {"cseq": f"CSeq: 1 {start}", **changes}
        start = f"{start} {URI} SIP/2.0"
    lines = {**LINES, **changes}
    return "\r\n".join([start, *(line for line in lines.values() if line)]) + end + body


def options(start: str = "OPTIONS", /, **changes: str) -> str:
    return message(start, **{"body": "", "content_type": "", "cseq": "CSeq: 1 OPTIONS", **changes})


MULTIPART = (
    "--=_7\r\nContent-Type: text/plain\r\n\r\nhear this\r\n"
    f"--=_7\r\nContent-Type: application/sdp\r\nContent-ID: <x@h>\r\n\r\n{SDP}\r\n--=_7--\r\n"
)

# What is legal, however odd: it must be taken. 200 is a call that is answered, or the answer to OPTIONS.
TAKEN = {
    "a short tortuous INVITE": (
        f"INVITE {URI};unknownparam SIP/2.0\r\n"
        f"TO :\r\n sip:600@{HOST} ;   x    = 1918181833n\r\n"
        'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n'
        "MaX-fOrWaRdS: 0068\r\n"
        "Call-ID: wsinv.ndaksdj@192.0.2.1\r\n"
        "Content-Length   : @LENGTH@\r\n"
        "cseq: 0009\r\n  INVITE\r\n"
        f"Via  : SIP  /   2.0\r\n /UDP\r\n    {HOST}:@PORT@;branch=390skdjuw\r\n"
        "s :\r\n"
        "NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n"
        "UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n"
        "Content-Type: application/sdp\r\n"
        "Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n"
        "v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n"
        " SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n"
        'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n'
        f"  secondparam ; q = 0.33\r\n\r\n{SDP}"
    ),
    "odd characters in the user": message(
        "INVITE sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
        f"@{HOST} SIP/2.0"
    ),
    "odd characters in tokens": message(
        from_="From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;from''~+*_!.-%=\"v\";tag=_t~1'-!",
        branch="X-.!%*_+`'~: 1",
    ),
    "an escaped URI inside the user": message(f"INVITE sip:sips%3Auser%40example.com@{HOST} SIP/2.0"),
    "escapes in display name and user": message(
        to='To: "%Z%45" <sip:%40lways%20%E2%82%ac@h>',
        contact=f"Contact: <sip:cal%6Cer@{HOST}:@PORT@;n%61me=v%61lue%25%34%31>",
    ),
    "an escaped null in the user": message(f"INVITE sip:null-%00-null@{HOST} SIP/2.0", to="To: <sip:null-%00@h>"),
    "a percent that escapes nothing": message(f"INVITE sip:100%@{HOST} SIP/2.0", to="To: <sip:%zz%4@h>"),
    "plus, star and hash in the user": message(f"INVITE sip:*72#+49%2B@{HOST} SIP/2.0", to="To: <sip:*72%23+49@h>"),
    "no space before the bracket": message(from_="From: caller<sip:caller@example.com>;tag=323"),
    "no space after any colon": message(
        to="To:<sip:600@h>", cseq="CSeq:1 INVITE", call_id="Call-ID:x", max_forwards="Max-Forwards:70"
    ),
    "tabs for spaces": message(cseq="CSeq:\t1\tINVITE", to="To:\t<sip:600@h>\t;\tx"),
    "long values": message(
        f"INVITE sip:{LONG}@{HOST} SIP/2.0",
        to=f'To: "{LONG}" <sip:{LONG}:{LONG}@{"sub." * 40}example.com;p{LONG}={LONG}>;q{LONG}=x',
        from_=f"From: <sip:a@h>;tag={LONG}",
        call_id=f"Call-ID: {LONG}@{LONG}",
        x=f"X-{LONG}: {LONG}",
    ),
    "many Vias": message(
        via=VIA + "".join(f"\r\nVia: SIP/2.0/UDP h{n}.example.com;branch=z9hG4bK{n}" for n in range(40))
    ),
    "octets after the body": message(length="Content-Length: @LENGTH@")
    + "INVITE sip:again@h SIP/2.0\r\nVia: x\r\n\r\n",
    "semicolons in the user": message(f"INVITE sip:user;par=u%40example.net@{HOST} SIP/2.0"),
    "unknown transports further down": message(
        via=f"{VIA}\r\nVia: SIP/2.0/UNKNOWN t1.example;branch=z9hG4bKa, SIP/2.0/TLS t2;branch=b\r\nv: SIP/2.0/SCTP t3"
    ),
    "an unknown transport on top": message(via=VIA.replace("UDP", "Carrier-Pigeon")),
    "multipart with a description inside": message(
        body=MULTIPART, content_type='Content-Type: multipart/mixed;boundary="=_7"'
    ),
    "compact forms": message(
        via=VIA.replace("Via", "v"),
        from_="f: <sip:a@h>;tag=1",
        to="t: <sip:600@h>",
        call_id="i: torture",
        contact=f"m: <sip:a@{HOST}:@PORT@>",
        content_type="c: application/sdp",
        length="l: @LENGTH@",
        more="k: \r\ns: short\r\nu: dialog\r\ny: x\r\nd: no-fork\r\na: *\r\no: x\r\nb: x\r\nj: x\r\ne: identity",
    ),
    "names in any case": message(
        via=VIA.replace("Via", "vIA"),
        to="tO: <SIP:600@H>",
        cseq="CSEQ: 1 INVITE",
        call_id="cALL-iD: t",
        content_type="CONTENT-TYPE: Application/SDP",
    ),
    "UTF-8 everywhere it may be": message(
        to='To: "Ömer Ñandú ☎" <sip:600@h>', from_='From: "مدير" <sip:a@h>;tag=1', subject="Subject: 日本語"
    ),
    "Latin-1 in a display name": message(to='To: "Jos\udce9" <sip:600@h>'),
    "quotes full of separators": message(
        from_='From: "a, <sip:b@c>;tag=2 \\" \\\\" <sip:a@h>;tag=1',
        contact=f'Contact: ",;<>\\"" <sip:a@{HOST}:@PORT@>;x="a;b,c>d"',
    ),
    "an empty display name": message(from_='From: "" <sip:a@h>;tag=1'),
    "a comma in a bare display name": message(to="To: Bell, Alexander <sip:600@h>"),
    "spaces inside the brackets": message(to="To: < sip:600@h >"),
    "no brackets at all": message(from_="From: sip:a@h;tag=1", to="To: sip:600@h"),
    "an unknown header of every kind of value": message(
        x='X-1: "unclosed\r\nX-2: <sip:\r\nX-3: (((\r\nX-4: %%%\r\nX-5:'
    ),
    "an unreadable Date": message(x="Date: Fri, 01 Jan 2010 16:00:00 EST"),
    "a Date of nonsense": message(x="Date: yesterday"),
    "huge numbers where nobody looks": message(
        x="Expires: 1000000000000000000000\r\nMIME-Version: 9999999999999.1\r\nRetry-After: -7\r\nTimestamp: 1e9"
    ),
    "an unknown scheme in From": message(from_="From: <isbn:2983792873>;tag=1"),
    "a tel URI in From and To": message(
        from_="From: <tel:+49-30-1;phone-context=x>;tag=1", to="To: <tel:600;phone-context=+49>"
    ),
    "a tel URI as the target": message("INVITE tel:+1-201-555-0123 SIP/2.0"),
    "headers in the target": message(f"INVITE {URI}?Route=%3Csip:example.com%3E SIP/2.0"),
    "a name without dots as the target": message("INVITE sip:600@pbx SIP/2.0"),
    "an unknown kind of authorization": message(x="Authorization: NoOneKnowsThisScheme opaque-data=here"),
    "Authorization of nonsense": message(x='Authorization: Digest username="x, nonce=,,,;'),
    "Proxy-Require is not for us": message(x="Proxy-Require: frobozz"),
    "an RFC 2543 caller": message(
        via=f"Via: SIP/2.0/UDP {HOST}:@PORT@",
        max_forwards="",
        from_="From: sip:a@h",
        x="Record-Route: <sip:h;maddr=p>",
    ),
    "a branch that is only the cookie": options(via=VIA.replace("z9hG4bKt", "z9hG4bK")),
    "a number with leading zeros": message(cseq="CSeq: 000000000001 INVITE", max_forwards="Max-Forwards: 0000070"),
    "no hops left, which only a proxy minds": message(max_forwards="Max-Forwards: 0"),
    "the largest CSeq": message(cseq="CSeq: 2147483647 INVITE"),
    "no Content-Length": message(),
    "folded to the last word": message(to="To:\r\n <sip:600@h>\r\n ;x\r\n =\r\n y", cseq="CSeq:\r\n 1\r\n INVITE"),
    "a fold of nothing but spaces": message(x="Subject: a\r\n   \r\n b"),
    "line feeds alone": message().replace("\r\n", "\n"),
    "empty lines in front": "\r\n\r\n\r\n" + message(),
    "an IPv6 target": message("INVITE sip:600@[2001:db8::10]:5070 SIP/2.0"),
    "an IPv6 host in Via": message(via=VIA.replace(f"{HOST}:@PORT@", "[2001:db8::9:1]") + ";rport"),
    "received with brackets": message(via=VIA + ";received=[2001:db8::9:255];rport"),
    "received without brackets": message(via=VIA + ";received=2001:db8::9:255;rport"),
    "an IPv4 address inside IPv6": message("INVITE sip:600@[::ffff:192.0.2.10] SIP/2.0"),
    "parameters that repeat": message(to="To: <sip:600@h>;x=1;x=2;X=3", via=VIA + ";ttl=1;TTL=2"),
    "everything in one Record-Route": message(
        x="Record-Route: <sip:p1;lr>;a=b,<sip:p2.example.com:5070;lr=on> , \r\n <sip:p3;lr;ftag=1%2B>"
    ),
    "OPTIONS with the least there can be": options(max_forwards="", contact=""),
    "OPTIONS with a body nobody knows": options(body="???", content_type="Content-Type: application/unknown"),
    "OPTIONS and a strange Accept": options(x="Accept: text/nobodyKnowsThis"),
}

# What is no call: the answer it gets, by status.
REFUSED = {
    "a method of all characters": (
        501,
        message("!interesting-Method0123456789_*+`.%indeed'~", body="", content_type=""),
    ),
    "a method that looks escaped": (501, message("RE%47IST%45R", body="", content_type="")),
    "a method in lower case": (501, options("options", cseq="CSeq: 1 options")),
    "REGISTER where nobody registers": (405, message("REGISTER", body="", content_type="")),
    "MESSAGE to a telephone": (405, message("MESSAGE", body="hello", content_type="Content-Type: text/plain")),
    "BYE of nobody": (481, message("BYE", body="", content_type="", to="To: <sip:600@h>;tag=gone")),
    "BYE without a tag": (481, message("BYE", body="", content_type="")),
    "CANCEL of nothing": (481, message("CANCEL", body="", content_type="")),
    "an INVITE into no dialog": (481, message(to="To: <sip:600@h>;tag=gone")),
    "extra separators in Via": (400, message(via=VIA + ";;,;,,")),
    "extra separators in Contact": (400, message(contact='Contact: "Joe" <sip:joe@example.org>;;;;')),
    "Content-Length larger than the message": (400, message(length="Content-Length: 9999")),
    "the same in compact form": (400, message(length="l: 9999")),
    "a negative Content-Length": (400, message(length="Content-Length: -999")),
    "a Content-Length with a sign": (400, message(length="Content-Length: +1")),
    "a Content-Length of words": (400, message(length="Content-Length: 0x10")),
    "a Content-Length beyond every number": (400, message(length=f"Content-Length: {LONG}")),
    "a Content-Length in other digits": (400, message(length="Content-Length: ١٢")),
    "two Content-Lengths": (400, message(length="Content-Length: 8\r\nl: 8")),
    "a CSeq beyond its range": (400, message(cseq="CSeq: 36893488147419103232 INVITE")),
    "a CSeq of 2**31": (400, message(cseq="CSeq: 2147483648 INVITE")),
    "a CSeq below zero": (400, message(cseq="CSeq: -1 INVITE")),
    "a CSeq without a method": (400, message(cseq="CSeq: 1")),
    "a CSeq without a number": (400, message(cseq="CSeq: INVITE")),
    "a CSeq with a fraction": (400, message(cseq="CSeq: 1.5 INVITE")),
    "a CSeq of two methods": (400, message(cseq="CSeq: 1 INVITE OPTIONS")),
    "two CSeqs": (400, message(x="CSeq: 2 INVITE")),
    "a CSeq of another method": (400, options(cseq="CSeq: 1 INVITE")),
    "a CSeq of another unknown method": (400, message("NEWMETHOD", body="", content_type="", cseq="CSeq: 1 INVITE")),
    "a Max-Forwards beyond its range": (400, message(max_forwards="Max-Forwards: 256")),
    "a Max-Forwards below zero": (400, message(max_forwards="Max-Forwards: -1")),
    "a Max-Forwards of words": (400, message(max_forwards="Max-Forwards: many")),
    "a quote that stays open": (400, message(to='To: "Mr. J. User <sip:j.user@example.com>')),
    "a quote that stays open in Contact": (400, message(contact='Contact: "a <sip:a@h>')),
    "a quote that a backslash keeps open": (400, message(to='To: "a\\" <sip:600@h>')),
    "brackets around the target": (400, message(f"INVITE <{URI}> SIP/2.0")),
    "a space in the target": (400, message("INVITE sip:600@h; lr SIP/2.0")),
    "two spaces in the first line": (400, message(f"INVITE  {URI}  SIP/2.0")),
    "a tab in the first line": (400, message(f"INVITE\t{URI} SIP/2.0")),
    "spaces after the first line": (400, message(f"INVITE {URI} SIP/2.0  ")),
    "a target without a scheme": (400, message("INVITE 600 SIP/2.0")),
    "a target without a host": (400, message("INVITE sip: SIP/2.0")),
    "a target with an empty user": (400, message("INVITE sip:@h SIP/2.0")),
    "a target with port 0": (400, message("INVITE sip:600@h:0 SIP/2.0")),
    "a target with port 65536": (400, message("INVITE sip:600@h:65536 SIP/2.0")),
    "a target with a negative port": (400, message("INVITE sip:600@h:-5060 SIP/2.0")),
    "an IPv6 target without brackets": (400, message("INVITE sip:2001:db8::10 SIP/2.0")),
    "an IPv6 target of nonsense": (400, message("INVITE sip:600@[2001:db8::1::2] SIP/2.0")),
    "an IPv6 target with a zone": (400, message("INVITE sip:600@[fe80::1%25eth0] SIP/2.0")),
    "a question mark outside brackets": (
        400,
        message(contact="Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E"),
    ),
    "a bracket that stays open": (400, message(to="To: <sip:600@h")),
    "a bracket that was never opened": (400, message(to="To: sip:600@h>")),
    "brackets in brackets": (400, message(to="To: <<sip:600@h>>")),
    "nothing in the brackets": (400, message(to="To: <>")),
    "words after the brackets": (400, message(to="To: <sip:600@h> Bob")),
    "a Contact of two words": (400, message(contact="Contact: Bell, Alexander <sip:a@h>")),
    "a Contact that is everyone": (400, message(contact="Contact: *")),
    "a Contact that is no address of SIP": (400, message(contact="Contact: <mailto:a@example.com>")),
    "no Contact": (400, message(contact="")),
    "no Call-ID": (400, message(call_id="")),
    "an empty Call-ID": (400, message(call_id="Call-ID: ")),
    "a Call-ID of two words": (400, message(call_id="Call-ID: a b")),
    "no From": (400, message(from_="")),
    "no To": (400, message(to="")),
    "no CSeq": (400, message(cseq="")),
    "two Froms": (400, message(x="f: <sip:b@h>;tag=2")),
    "two Tos": (400, message(x="To: <sip:601@h>")),
    "two Call-IDs": (400, message(x="i: other")),
    "two Max-Forwards": (400, message(x="Max-Forwards: 5")),
    "two Content-Types": (400, message(x="c: text/plain")),
    "a header without a colon": (400, message(x="Subject hello")),
    "a header without a name": (400, message(x=": hello")),
    "a header with a space in its name": (400, message(x="Sub ject: hello")),
    "a null in a header": (400, message(x="Subject: a\0b")),
    "an escape sequence for a terminal": (400, message(x="Subject: \x1b[2J")),
    "a carriage return inside a header": (400, message(x="Subject: a\rVia: b")),
    "no empty line at the end": (400, message(end="", body="", content_type="")),
    "version 7": (505, message(f"INVITE {URI} SIP/7.0")),
    "version 2.1": (505, message(f"INVITE {URI} SIP/2.1")),
    "an unknown scheme as the target": (416, message("INVITE nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0")),
    "a known scheme of another world": (416, message("INVITE soap.beep://192.0.2.103:3002 SIP/2.0")),
    "mail to a telephone": (416, options("OPTIONS mailto:a@h SIP/2.0")),
    "Require of nothing known": (420, message(x="Require: nothingSupportsThis, nothingSupportsThisEither")),
    "OPTIONS with Require": (420, options(x="Require: nothingSupportsThis")),
    "a session interval too short, in compact form": (422, message(x="k: timer\r\nx: 60")),
    "a body of an unknown kind": (415, message(content_type="Content-Type: application/unknownformat")),
    "a body packed in an unknown way": (415, message(x="Content-Encoding: x-unknown")),
    "a body without a kind": (400, message(content_type="")),
    "a description of nonsense": (400, message(body="nonsense")),
    "a description of another codec": (488, message(body=SDP.replace("RTP/AVP 0 8 101", "RTP/AVP 18"))),
    "a Record-Route of nonsense": (400, message(x="Record-Route: <nonsense>")),
    "more headers than a message has": (513, message(x="\r\n".join(["X: y"] * 300))),
}

# What cannot be answered, or must not: the word under which it is counted.
DROPPED = {
    "no Via": ("missing_via", message(via="")),
    "a Via of another world": ("malformed", message(via="Via: HTTP/1.1 proxy")),
    "a Via without a host": ("malformed", message(via="Via: SIP/2.0/UDP ;branch=z9hG4bKt")),
    "a Via with a port of words": ("malformed", message(via="Via: SIP/2.0/UDP h:sip;branch=z9hG4bKt")),
    "a Via with an open quote": ("malformed", message(via='Via: SIP/2.0/UDP h;branch="z9')),
    "an ACK for nothing": ("stray_ack", message("ACK", body="", content_type="")),
    "an ACK that is malformed": ("malformed", message("ACK", body="", content_type="", to="To: <sip:600@h")),
    "a request of another protocol": ("not_sip", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    "a first line without a version": ("not_sip", f"INVITE {URI}\r\n{VIA}\r\n\r\n"),
    "binary": ("not_sip", "\0\1\2\3\udcff\udcfe"),
    "an answer to nobody": ("stray_response", "SIP/2.0 200 OK\r\n" + message().partition("\r\n")[2]),
    "an answer with a code beyond SIP": ("not_sip", "SIP/2.0 4294967301 better not break\r\n\r\n"),
    "an answer with a code of 99": ("not_sip", "SIP/2.0 099 low\r\n\r\n"),
    "an answer of 700": ("not_sip", "SIP/2.0 700 high\r\n" + message().partition("\r\n")[2]),
    "an answer with a negative code": ("not_sip", "SIP/2.0 -200 OK\r\n\r\n"),
    "an answer of another version": ("version", "SIP/3.0 200 OK\r\n\r\n"),
    "an answer without a To": ("missing_to", "SIP/2.0 200 OK\r\n" + message(to="").partition("\r\n")[2]),
    "an answer with a CSeq too large": (
        "malformed",
        "SIP/2.0 503 overlarge\r\n" + message(cseq="CSeq: 9292394834772304023312 OPTIONS").partition("\r\n")[2],
    ),
    "an answer with more headers than it has": (
        "too_many_headers",
        "SIP/2.0 200 OK\r\n" + message(x="\r\n".join(["X: y"] * 300)).partition("\r\n")[2],
    ),
}


def encoded(text: str, port: int) -> bytes:
    text = text.replace("@PORT@", str(port)).replace("@LENGTH@", str(len(SDP)))
    return text.encode("utf-8", "surrogateescape")


SHORT = {"v": "via", "f": "from", "t": "to", "i": "call-id"}


def echoed(data: bytes) -> dict[str, list[bytes]]:
    """The lines that an answer must give back, as they are on the wire, read without our parser."""
    head = re.split(rb"\r?\n\r?\n", data.lstrip(b"\r\n"), maxsplit=1)[0]
    found: dict[str, list[bytes]] = {}
    for line in re.split(rb"\r?\n(?![ \t])", head)[1:]:
        name = line.partition(b":")[0].strip().lower().decode("utf-8", "replace")
        name = SHORT.get(name, name)
        if name in ("via", "from", "to", "call-id", "cseq", "record-route"):
            found.setdefault(name, []).append(line.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    return found


def assert_echoes(request: bytes, answer: bytes) -> None:
    asked, given = echoed(request), echoed(answer)
    status = int(answer.split(b" ")[1])
    if not 100 < status < 300 or not request.lstrip(b"\r\n").startswith(b"INVITE"):
        asked.pop("record-route", None)
    if b"rport" in request:
        asked["via"], given["via"] = asked["via"][1:], given["via"][1:]
    if b"tag" not in b"".join(asked.get("to", [])):
        given["to"] = [line.rpartition(b";tag=")[0] for line in given.get("to", [])]
        asked["to"] = [line.rstrip() for line in asked.get("to", [])]
    assert {key: value for key, value in given.items() if value} == {
        key: value for key, value in asked.items() if value
    }


async def outcome(text: str) -> tuple[bytes, bytes, UserAgent, Answering]:
    """What was sent, the final answer to it (empty when it was dropped), and who was asked."""
    application = Answering()
    async with agent(application) as service, bare(service) as stranger:
        data = encoded(text, stranger.port)
        stranger.send(data)
        await until(lambda: service.stats.dropped or any(status >= 200 for status in service.stats.answers))
        answer = b""
        while not service.stats.dropped and not re.match(rb"SIP/2.0 [2-6]", answer):
            answer = await stranger.received.get()
        return data, answer, service, application


@pytest.mark.parametrize("name", TAKEN)
async def test_what_is_legal_is_taken(name: str) -> None:
    data, answer, service, application = await outcome(TAKEN[name])
    assert answer.startswith(b"SIP/2.0 200 "), answer
    assert_echoes(data, answer)
    assert len(application.calls) == (0 if name.startswith(("OPTIONS", "a branch")) else 1)
    assert service.stats.dropped == {}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_call_gets_its_answer(name: str) -> None:
    status, text = REFUSED[name]
    data, answer, service, application = await outcome(text)
    assert answer.startswith(f"SIP/2.0 {status} ".encode()), answer
    assert_echoes(data, answer)
    assert all(b";tag=" in line for line in echoed(answer).get("to", []))
    assert service.stats.dropped == {}
    assert application.confirmed == 0


@pytest.mark.parametrize("name", DROPPED)
async def test_what_cannot_be_answered_is_counted(name: str) -> None:
    reason, text = DROPPED[name]
    _, _, service, application = await outcome(text)
    assert service.stats.dropped == {reason: 1}
    assert service.stats.answers == {}
    assert application.calls == []


def test_the_table_is_as_long_as_it_says() -> None:
    assert len(TAKEN) + len(REFUSED) + len(DROPPED) >= 60
