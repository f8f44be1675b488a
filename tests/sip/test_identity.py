"""Who calls, whom, and by whose diversion; and that nothing a peer writes there can hurt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.identity import MAX_VALUES, Identity
from bridge.sip.message import Request, parse
from tests.sip.stack import invite


def identity(
    *lines: str, trusted: bool = True, sender: str = "<sip:alice@192.0.2.1>", uri: str = "sip:600@192.0.2.10"
) -> Identity:
    text = invite(extra="".join(f"{line}\r\n" for line in lines), uri=uri)
    request = parse(text.replace("From: <sip:alice@192.0.2.1>", f"From: {sender}").encode())
    assert isinstance(request, Request)
    return Identity.of(request, trusted)


# Who calls


@pytest.mark.parametrize(
    ("lines", "caller", "told_by"),
    [
        ([], "alice", "From"),
        (["P-Asserted-Identity: <sip:+4930@carrier.example>"], "+4930", "P-Asserted-Identity"),
        (["P-Asserted-Identity: <tel:+49-30>, <sip:7000@pbx.example>"], "7000", "P-Asserted-Identity"),
        (["P-Asserted-Identity: <sip:pbx.example>", "P-Asserted-Identity: tel:+4930"], "+4930", "P-Asserted-Identity"),
        (["P-Asserted-Identity: <sip:anonymous@anonymous.invalid>"], "alice", "From"),
        (["Remote-Party-ID: <sip:7001@pbx>;party=calling"], "7001", "Remote-Party-ID"),
        (["Remote-Party-ID: <sip:7001@pbx>"], "7001", "Remote-Party-ID"),
        (["Remote-Party-ID: <sip:7001@pbx>;party=called"], "alice", "From"),
        (["Remote-Party-ID: <sip:1@p>", "P-Asserted-Identity: <sip:2@p>"], "2", "P-Asserted-Identity"),
        (['P-Asserted-Identity: "broken <sip:1@p>', "P-Asserted-Identity: <sip:2@p>"], "2", "P-Asserted-Identity"),
        (["P-Asserted-Identity: <<>>", "Remote-Party-ID: <sip:3@p>"], "3", "Remote-Party-ID"),
        (["P-Asserted-Identity: <mailto:a@b>"], "alice", "From"),
    ],
)
def test_the_first_header_that_can_be_used_names_the_caller(lines: list[str], caller: str, told_by: str) -> None:
    seen = identity(*lines)
    assert (seen.caller, seen.told_by) == (caller, told_by)


def test_of_strangers_only_from_is_believed() -> None:
    seen = identity(
        "P-Asserted-Identity: <sip:boss@p>",
        "Remote-Party-ID: <sip:boss@p>",
        "Diversion: <sip:200@p>",
        "History-Info: <sip:200@p>;index=1, <sip:600@p;cause=302>;index=1.1",
        trusted=False,
    )
    assert (seen.caller, seen.told_by, seen.diversions) == ("alice", "From", ())


@pytest.mark.parametrize(
    ("uri", "user", "host"),
    [
        ("tel:+49-30-(123).4", "+49301234", ""),
        ("tel:7042;phone-context=Example.com", "7042", "example.com"),
        ("tel:30123;phone-context=+49", "30123", ""),
        ("sip:+49-30-123@p", "+4930123", "p"),
        ("sip:030-123@p;user=phone", "030123", "p"),
        ("sip:mary-ann@p", "mary-ann", "p"),
        ("sip:mary-ann@p;user=phone", "mary-ann", "p"),
        ("sip:7042;isub=11;phone-context=+49@p", "7042", "p"),
        ("sip:%2B4930@p", "+4930", "p"),
        ("sip:p", "", "p"),
    ],
)
def test_a_number_is_read_without_separators_and_parameters(uri: str, user: str, host: str) -> None:
    seen = identity(sender=f"<{uri}>").calling
    assert (seen.user, seen.host) == (user, host)


def test_the_name_comes_with_the_number_else_from_from() -> None:
    assert identity('P-Asserted-Identity: "Ada L" <sip:1@p>', sender='"Bob" <sip:2@p>').caller_name == "Ada L"
    assert identity("P-Asserted-Identity: <sip:1@p>", sender='"Bob" <sip:2@p>').caller_name == "Bob"
    lines = ["P-Asserted-Identity: <sip:1@p>", 'P-Asserted-Identity: "Ada" <tel:+1>']
    assert identity(*lines).caller_name == "Ada"
    assert identity(sender=f'"{"x" * 500}  y" <sip:2@p>').caller_name == "x" * 128


@pytest.mark.parametrize(
    ("lines", "sender", "withheld"),
    [
        ([], "<sip:1@p>", False),
        (["Privacy: id"], "<sip:1@p>", True),
        (["Privacy: header;user; critical"], "<sip:1@p>", True),
        (["Privacy: none"], "<sip:1@p>", False),
        (["Privacy: header"], "<sip:1@p>", False),
        ([], '"Anonymous" <sip:anonymous@anonymous.invalid>', True),
        ([], "<sip:Anonymous@p>", True),
        (["Remote-Party-ID: <sip:1@p>;privacy=full"], "<sip:1@p>", True),
        (["Remote-Party-ID: <sip:1@p>;privacy=off"], "<sip:1@p>", False),
    ],
)
def test_who_does_not_want_to_be_known(lines: list[str], sender: str, withheld: bool) -> None:
    assert identity(*lines, sender=sender).withheld is withheld


def test_a_withheld_number_may_route_and_is_shown_to_nobody() -> None:
    seen = identity("P-Asserted-Identity: <sip:+4930@c>", sender='"A" <sip:anonymous@anonymous.invalid>')
    assert seen.caller == "+4930"
    assert (seen.shown_caller.user, seen.shown_caller.name) == ("anonymous", "")
    assert identity().shown_caller.user == "alice"


# Whom


def test_whom_the_call_is_for() -> None:
    seen = identity(uri="sip:700@other.example;transport=tcp")
    assert (seen.called, seen.dialled.address) == ("700", "700@other.example")
    assert (seen.to_user, seen.addressee.address) == ("600", "600@192.0.2.10")
    assert identity(uri="tel:+49-30").called == "+4930"


# Diversion


def test_the_topmost_diversion_is_the_latest() -> None:
    lines = ['Diversion: "D" <sip:200@p>;reason=user-busy;counter=1', 'Diversion: <tel:+49-1>;reason="no-answer"']
    seen = identity(*lines)
    assert seen.diverted_from == "200"
    assert [(step.party.user, step.reason) for step in seen.diversions] == [("200", "user-busy"), ("+491", "no-answer")]


@pytest.mark.parametrize(
    ("history", "diversions"),
    [
        ("<sip:200@p>;index=1, <sip:600@p;cause=302>;index=1.1", [("200", "unconditional")]),
        ("<sip:200@p?Reason=SIP%3Bcause%3D486>;index=1, <sip:600@p>;index=1.1;mp=1", [("200", "user-busy")]),
        ("<sip:200@p?Reason=SIP%3Bcause%3D408%3Btext%3D%22x%22>;index=1, <sip:6@p>;index=1.1", [("200", "no-answer")]),
        ("<sip:200@p>;index=1, <sip:600@p>;index=1.1;mp=1", [("200", "")]),
        ("<sip:200@p>;index=1, <sip:600@p>;index=1.1;rc=1", []),
        ("<sip:600@p>;index=1", []),
        (
            "<sip:1@p>;index=1,<sip:2@p;cause=302>;index=1.1,<sip:3@p;cause=486>;index=1.1.1",
            [("2", "user-busy"), ("1", "unconditional")],
        ),
        ("<sip:1@p>;index=1, <sip:2@p>;index=1.1;mp=9", []),
        ("<sip:1@p>;index=1;mp=1", []),
    ],
)
def test_history_tells_diversions_from_hops(history: str, diversions: list[tuple[str, str]]) -> None:
    seen = identity(f"History-Info: {history}")
    assert [(step.party.user, step.reason) for step in seen.diversions] == diversions


def test_diversion_goes_before_history() -> None:
    seen = identity("History-Info: <sip:1@p>;index=1, <sip:2@p;cause=302>;index=1.1", "Diversion: <sip:9@p>")
    assert [step.party.user for step in seen.diversions] == ["9"]


def test_a_diverting_party_may_withhold_his_number_too() -> None:
    seen = identity("Diversion: <sip:200@p>;privacy=full")
    assert (seen.diverted_from, seen.shown_diverted_from) == ("200", "anonymous")
    seen = identity("History-Info: <sip:200@p?Privacy=history>;index=1, <sip:6@p;cause=302>;index=1.1")
    assert (seen.diverted_from, seen.shown_diverted_from) == ("200", "anonymous")


# Strangers


def test_a_long_chain_is_cut() -> None:
    assert len(identity(*["Diversion: <sip:1@p>, <sip:2@p>"] * 50).diversions) == MAX_VALUES


@given(
    st.sampled_from(["P-Asserted-Identity", "Remote-Party-ID", "Diversion", "History-Info", "Privacy"]),
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=80)
    | st.text(alphabet='<>"sip:tel+1@;,=%?\\mpindex. ', max_size=80),
)
def test_any_text_in_any_of_these_headers_is_harmless(name: str, text: str) -> None:
    seen = identity(f"{name}: {text}")
    assert seen.called == "600"
    assert len(seen.diversions) <= MAX_VALUES
