"""The registrar: phones that register, and strangers that try to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.digest import Authenticator, Authority, Credentials, Header
from bridge.sip.errors import SipError
from bridge.sip.layer import Path
from bridge.sip.message import Request, Response, parse
from bridge.sip.registrar import MAX_CONTACTS, Registrar

from .stack import PEER, Wire

SOURCE = ("198.51.100.7", 40001)
PHONE = "<sip:alice@192.0.2.1:5060>"


class Phones:
    """A registrar, its clock, and phones that know their passwords."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.registrar = Registrar("bridge", {"alice": "secret", "bob": "hunter"}, lambda: self.now)
        self.wire = Wire()
        self.cseq = 0
        self.authenticators: dict[tuple[str, str], Authenticator] = {}

    def ask(self, request: Request, source: tuple[str, int] = SOURCE) -> Response | SipError:
        return self.registrar.receive(request, Path(self.wire, PEER), source)

    def request(
        self,
        *contacts: str,
        user: str = "alice",
        to: str | None = None,
        expires: str | None = None,
        call_id: str = "c",
        cseq: int | None = None,
        answers: Sequence[Header] = (),
    ) -> Request:
        self.cseq += 1
        lines = [
            "REGISTER sip:bridge.example SIP/2.0",
            f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{self.cseq}",
            f"From: <sip:{user}@bridge.example>;tag=f",
            f"To: <sip:{to or user}@bridge.example>",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq or self.cseq} REGISTER",
            *(f"Contact: {contact}" for contact in contacts),
            *([f"Expires: {expires}"] if expires is not None else []),
            *(f"{name}: {value}" for name, value in answers),
        ]
        message = parse("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
        assert isinstance(message, Request)
        return message

    def signed(
        self, *contacts: str, user: str = "alice", source: tuple[str, int] = SOURCE, **options: object
    ) -> Request:
        """A REGISTER with the answer to the challenge that the registrar gives this source."""
        key = user, source[0]
        if key not in self.authenticators:
            challenged = self.ask(self.request(user=user), source)
            assert isinstance(challenged, SipError)
            password = {"alice": "secret", "bob": "hunter"}[user]
            self.authenticators[key] = Authenticator([Credentials(user, password)])
            refusal = self.request().response(challenged.status, headers=challenged.headers)
            assert self.authenticators[key].challenged(refusal)
        answers = self.authenticators[key].authorize("REGISTER", "sip:bridge.example")
        return self.request(*contacts, user=user, answers=answers, **options)  # type: ignore[arg-type]

    def register(self, *contacts: str, source: tuple[str, int] = SOURCE, **options: object) -> list[str]:
        """The contacts that the 200 lists."""
        answer = self.ask(self.signed(*contacts, source=source, **options), source)  # type: ignore[arg-type]
        assert isinstance(answer, Response), answer
        assert answer.status == 200
        return answer.headers("Contact")

    def refused(self, *contacts: str, **options: object) -> SipError:
        answer = self.ask(self.signed(*contacts, **options))  # type: ignore[arg-type]
        assert isinstance(answer, SipError)
        return answer

    def found(self, user: str = "alice") -> list[str]:
        return [str(uri) for uri, _ in self.registrar.lookup(user)]


def test_a_stranger_is_challenged_and_leaves_nothing() -> None:
    phones = Phones()
    answer = phones.ask(phones.request(PHONE))
    assert isinstance(answer, SipError)
    assert (answer.status, answer.headers[0][0]) == (401, "WWW-Authenticate")
    assert len(phones.registrar) == 0


def test_a_phone_registers_and_is_found_where_it_really_is() -> None:
    phones = Phones()
    assert phones.register(f'{PHONE};+sip.instance="<urn:x>"', expires="600") == [
        f'{PHONE};+sip.instance="<urn:x>";expires=600'
    ]
    ((uri, path),) = phones.registrar.lookup("alice")
    assert (str(uri), path.transport, path.peer) == ("sip:alice@192.0.2.1:5060", phones.wire, SOURCE)
    assert phones.registrar.lookup("bob") == []
    assert phones.registrar.lookup("nobody") == []
    assert phones.registrar.uses(SOURCE)
    assert not phones.registrar.uses(PEER)


def test_the_answer_can_be_sent_as_it_is() -> None:
    phones = Phones()
    answer = phones.ask(phones.signed(PHONE))
    assert isinstance(answer, Response)
    again = parse(bytes(answer))
    assert isinstance(again, Response)
    assert again.to.tag
    assert again.cseq.method == "REGISTER"


@pytest.mark.parametrize(
    ("parameter", "header", "granted"),
    [
        (None, None, 3600),
        ("120", None, 120),
        (None, "120", 120),
        ("120", "999", 120),
        (None, "7200", 3600),
        (None, "4294967295", 3600),
        (None, "60", 60),
        (None, "soon", 3600),
        ("99999999999999999999999", "120", 3600),
    ],
)
def test_the_time_that_is_granted(parameter: str | None, header: str | None, granted: int) -> None:
    contact = PHONE if parameter is None else f"{PHONE};expires={parameter}"
    assert Phones().register(contact, expires=header) == [f"{PHONE};expires={granted}"]


def test_too_brief() -> None:
    error = Phones().refused(PHONE, expires="59")
    assert (error.status, error.reason, error.headers) == (423, "interval_too_brief", (("Min-Expires", "60"),))


def test_a_binding_ends_with_its_time() -> None:
    phones = Phones()
    phones.register(PHONE, expires="60")
    phones.now += 59.5
    assert phones.register() == [f"{PHONE};expires=1"]
    phones.now += 0.5
    assert (phones.found(), len(phones.registrar), phones.registrar.uses(SOURCE)) == ([], 0, False)
    assert phones.register() == []
    phones.register(PHONE, expires="60")
    phones.registrar.expire(phones.now + 59.9)
    assert len(phones.found()) == 1
    phones.registrar.expire(phones.now + 60.0)
    assert phones.registrar._bindings == {}


def test_several_phones_of_one_user() -> None:
    phones = Phones()
    phones.register("<sip:alice@192.0.2.1>;q=0.5", call_id="desk")
    phones.register("<sip:alice@192.0.2.2>, <sip:alice@192.0.2.3>;q=0.7", call_id="mobile")
    assert phones.found() == ["sip:alice@192.0.2.2", "sip:alice@192.0.2.3", "sip:alice@192.0.2.1"]
    assert len(phones.register("<sip:alice@192.0.2.3>;expires=0", call_id="mobile")) == 2
    assert phones.found() == ["sip:alice@192.0.2.2", "sip:alice@192.0.2.1"]


def test_a_refresh_moves_the_path_and_the_time() -> None:
    phones = Phones()
    phones.register(PHONE, expires="60")
    phones.now += 50.0
    phones.register(PHONE.replace("sip:alice@", "SIP:alice@"), expires="60", source=("198.51.100.8", 9))
    phones.now += 50.0
    ((_, path),) = phones.registrar.lookup("alice")
    assert path.peer == ("198.51.100.8", 9)


def test_everything_is_forgotten_with_a_star() -> None:
    phones = Phones()
    phones.register(PHONE, "<sip:alice@192.0.2.2>")
    for contacts, expires in ((("*",), "60"), (("*",), None), (("*", PHONE), "0")):
        assert phones.refused(*contacts, expires=expires).status == 400
    assert len(phones.found()) == 2
    assert phones.register("*", expires="0") == []
    assert phones.found() == []


def test_the_order_of_requests() -> None:
    phones = Phones()
    phones.register(PHONE, cseq=70)
    old = phones.refused(PHONE, "<sip:alice@192.0.2.2>", cseq=69, expires="0")
    assert (old.status, old.reason) == (500, "cseq_order")
    assert phones.refused("*", cseq=69, expires="0").status == 500
    assert phones.found() == ["sip:alice@192.0.2.1:5060"]
    assert phones.register(PHONE, cseq=5, call_id="restarted", expires="0") == []


def test_a_retransmission_gets_the_same_answer() -> None:
    phones = Phones()
    request = phones.signed(PHONE)
    first, second = phones.ask(request), phones.ask(request)
    assert isinstance(first, Response)
    assert isinstance(second, Response)
    assert first.headers("Contact") == second.headers("Contact")


def test_a_contact_that_cannot_be_served_leaves_all_as_it_was() -> None:
    phones = Phones()
    phones.register(PHONE)
    for bad in ("<tel:+49>", "<sip:alice@192.0.2.9>;expires=5", "<sip:>", f"<sip:{'a' * 1100}@h>"):
        assert phones.refused("<sip:alice@192.0.2.8>", bad, f"{PHONE};expires=0").status in (400, 423)
        assert phones.found() == ["sip:alice@192.0.2.1:5060"]


def test_nobody_registers_for_somebody_else() -> None:
    phones = Phones()
    error = phones.refused(PHONE, to="bob")
    assert (error.status, error.reason) == (403, "wrong_user")
    assert len(phones.registrar) == 0


def test_users_of_another_table_are_nobody_here() -> None:
    phones = Phones()
    authority = Authority("bridge", {"alice": "secret", "700": "pbx"}, lambda: phones.now)
    phones.registrar = Registrar("bridge", {"bob": "hunter"}, lambda: phones.now, authority=authority)
    assert phones.refused(PHONE).status == 403


def test_the_same_authority_may_have_asked_before() -> None:
    phones = Phones()
    request = phones.signed(PHONE)
    assert phones.registrar.authority.check(request, SOURCE[0]) == "alice"
    assert isinstance(phones.ask(request), Response)


def test_contacts_are_bounded_and_the_newest_stay() -> None:
    phones = Phones()
    for port in range(5000, 5000 + MAX_CONTACTS + 3):
        phones.register(f"<sip:alice@192.0.2.1:{port}>", call_id=str(port))
    assert len(phones.registrar) == MAX_CONTACTS
    assert "sip:alice@192.0.2.1:5002" not in phones.found()
    assert "sip:alice@192.0.2.1:5003" in phones.found()
    flood = [f"<sip:alice@192.0.2.2:{port}>" for port in range(6000, 6000 + MAX_CONTACTS + 1)]
    assert phones.refused(*flood).reason == "too_many_contacts"


def test_values_come_back_byte_for_byte() -> None:
    contact = '<sip:a+b%20*c@192.0.2.1;x=%41>;methods="INVITE, BYE"'
    assert Phones().register(contact) == [f"{contact};expires=3600"]


@given(st.binary(max_size=60))
def test_any_contact_is_an_answer(data: bytes) -> None:
    phones = Phones()
    text = data.replace(b"\r", b"").replace(b"\n", b"").decode("utf-8", "surrogateescape")
    for contact in (text, f"<sip:a@h>;{text}", f"<sip:{text}>"):
        try:
            request = phones.signed(contact)
        except SipError:
            continue
        answer = phones.ask(request)
        if isinstance(answer, Response):
            assert isinstance(parse(bytes(answer)), Response)
