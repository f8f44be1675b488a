"""Dialogs: tags, sequence, targets and routes (RFC 3261 section 12)."""

from __future__ import annotations

import pytest

from bridge.sip.dialog import Dialog, new_tag
from bridge.sip.errors import SipError
from bridge.sip.message import Request, Response, parse

from .stack import request

ROUTES = "Record-Route: <sip:p1.example;lr>, <sip:192.0.2.50:5070;lr>\r\nRecord-Route: <sip:p3;lr>\r\n"


def invite(extra: str = "", **changes: object) -> Request:
    message = parse(request("INVITE", extra=extra, **changes).encode())  # type: ignore[arg-type]
    assert isinstance(message, Request)
    return message


def accepted(to: Request, extra: tuple[tuple[str, str], ...] = ()) -> Response:
    return to.response(200, tag="b", headers=(("Contact", "<sip:bob@192.0.2.2:5099>"), *extra))


def test_the_called_side() -> None:
    dialog = Dialog.uas(invite(), "mine")
    assert (dialog.local_tag, dialog.remote_tag, dialog.remote_cseq) == ("mine", "a", 1)
    assert dialog.hop.hop == ("192.0.2.1", 5060)
    bye = dialog.request("BYE", "SIP/2.0/UDP h;branch=z9hG4bKq", dialog.next_cseq())
    assert bye.uri.text == "sip:alice@192.0.2.1:5060"
    assert bye.header("From") == "<sip:600@192.0.2.10>;tag=mine"
    assert bye.header("To") == "<sip:alice@192.0.2.1>;tag=a"
    assert bye.cseq.number == dialog.local_cseq
    assert parse(bytes(bye))


def test_the_calling_side_reverses_the_routes() -> None:
    asked = invite(extra=ROUTES)
    dialog = Dialog.uac(asked, accepted(asked))
    assert dialog.routes == ("<sip:p3;lr>", "<sip:192.0.2.50:5070;lr>", "<sip:p1.example;lr>")
    assert dialog.hop.hop == ("p3", 5060)
    assert (dialog.local_tag, dialog.remote_tag, dialog.remote_cseq) == ("a", "b", None)
    assert dialog.next_cseq() == 2


def test_loose_routes_keep_the_target() -> None:
    dialog = Dialog.uas(invite(extra=ROUTES), "t")
    bye = dialog.request("BYE", "SIP/2.0/UDP h;branch=z9hG4bKq", 5)
    assert bye.uri.text == "sip:alice@192.0.2.1:5060"
    assert bye.headers("Route") == ["<sip:p1.example;lr>", "<sip:192.0.2.50:5070;lr>", "<sip:p3;lr>"]
    assert dialog.hop.hop == ("p1.example", 5060)


def test_a_strict_router_takes_the_request_uri() -> None:
    dialog = Dialog.uas(invite(extra="Record-Route: <sip:old>, <sip:p2;lr>\r\n"), "t")
    bye = dialog.request("BYE", "SIP/2.0/UDP h;branch=z9hG4bKq", 5)
    assert bye.uri.text == "sip:old"
    assert bye.headers("Route") == ["<sip:p2;lr>", "<sip:alice@192.0.2.1:5060>"]


def test_sequence() -> None:
    dialog = Dialog.uas(invite(cseq=5), "t")
    assert not dialog.accepts(4)
    assert dialog.accepts(5)
    assert dialog.accepts(9)
    assert not dialog.accepts(8)


def test_a_reinvite_moves_the_target() -> None:
    dialog = Dialog.uas(invite(), "t")
    moved = invite()
    dialog.refresh(accepted(moved))
    assert dialog.target.text == "sip:bob@192.0.2.2:5099"
    dialog.refresh(moved.response(200))
    dialog.refresh(moved.response(200, headers=(("Contact", "<tel:1>"),)))
    assert dialog.target.text == "sip:bob@192.0.2.2:5099"


def test_foreign_bytes_in_names_go_back_as_they_came() -> None:
    text = request("INVITE").encode().replace(b"From: <", b'From: "Jos\xe9+%2b" <')
    message = parse(text)
    assert isinstance(message, Request)
    bye = Dialog.uas(message, "t").request("BYE", "SIP/2.0/UDP h;branch=z9hG4bKq", 5)
    assert b'To: "Jos\xe9+%2b" <sip:alice@192.0.2.1>;tag=a\r\n' in bytes(bye)


@pytest.mark.parametrize("line", ["Record-Route: <tel:1>\r\n", "Record-Route: <sip:p\r\n", "Record-Route: x\r\n"])
def test_routes_that_lead_nowhere_are_refused(line: str) -> None:
    with pytest.raises(SipError):
        Dialog.uas(invite(extra=line), "t")


def test_a_contact_without_a_host_is_refused() -> None:
    text = request("INVITE").replace("Contact: <sip:alice@192.0.2.1:5060>", "Contact: <tel:1>")
    message = parse(text.encode())
    assert isinstance(message, Request)
    with pytest.raises(SipError):
        Dialog.uas(message, "t")


def test_tags_do_not_repeat() -> None:
    assert len({new_tag() for _ in range(1000)}) == 1000
