"""`sipbridge route`: which route takes a call, told for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config import Config
from bridge.route_command import MAX_INVITE, Question, RouteError, run_route
from tests.sip.stack import invite

CONFIG = Config.model_validate(
    {
        "trunks": {"pbx": {"peers": ["10.0.0.0/8"]}},
        "agents": {"reception": {}, "german": {}, "vip": {}},
        "routes": [
            {"to": "0600", "agent": "reception"},
            {"from": "+49*", "trunk": "pbx", "agent": "german"},
            {"header": {"X-Queue": "vip*"}, "agent": "vip"},
        ],
    }
)


def told(capsys: pytest.CaptureFixture[str], question: Question, config: Config = CONFIG) -> tuple[bool, list[str]]:
    taken = run_route(config, question)
    return taken, capsys.readouterr().out.splitlines()


def test_every_route_says_why_it_fits_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    question = Question(to="600", from_="+4930123", trunk="pbx", headers=["X-Queue: vip 1"])
    taken, lines = told(capsys, question)
    assert taken
    assert lines == [
        "call to '600', from '+4930123', to_header '600@sipbridge.invalid', trunk 'pbx'",
        "   1  reception: does not fit: to 0600 does not fit '600'",
        "   2  german: takes it: from +49* fits '+4930123'; trunk pbx fits 'pbx'",
        "   3  vip: fits, but comes later: header X-Queue vip* fits 'vip 1'",
        "agent german: from +49* fits '+4930123', trunk pbx fits 'pbx'",
    ]


def test_a_call_that_no_route_takes(capsys: pytest.CaptureFixture[str]) -> None:
    taken, lines = told(capsys, Question(to="700"))
    assert not taken and lines[-1] == "no route fits: the caller gets 404"


def test_without_routes_the_first_agent(capsys: pytest.CaptureFixture[str]) -> None:
    taken, lines = told(capsys, Question(to="700"), Config())
    assert taken and lines[-1] == "agent default: there are no routes: the first agent answers"


def test_the_source_finds_the_trunk(capsys: pytest.CaptureFixture[str]) -> None:
    taken, lines = told(capsys, Question(to="1", from_="+49301", source="10.1.1.1"))
    assert taken and lines[-1].startswith("agent german")
    taken, lines = told(capsys, Question(to="1", from_="+49301", source="8.8.8.8"))
    assert not taken and lines[-1].startswith("8.8.8.8 is not a peer: no answer; name its network")


def test_a_stranger_with_a_password_is_believed_only_in_from(capsys: pytest.CaptureFixture[str]) -> None:
    users = {"trunks": {"pbx": {"users": {"a": {"password": "x"}}}}, "agents": {"a": {}}}
    config = Config.model_validate(users | {"routes": [{"from": "+49*", "agent": "a"}]})
    question = Question(to="1", from_="7", headers=["P-Asserted-Identity: <tel:+4930>"], source="8.8.8.8")
    assert told(capsys, question, config)[0] is False
    assert told(capsys, Question(to="1", from_="7", headers=question.headers), config)[0] is True


def test_a_whole_invite_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "invite.txt"
    whole = invite(uri="sip:0600@192.0.2.10", extra="X-Queue: vip\r\n")
    for text in (whole, whole.replace("\r\n", "\n"), whole.partition("\r\n\r\n")[0], "\n\n" + whole[:-40]):
        path.write_bytes(text.encode())
        taken, lines = told(capsys, Question(invite=path))
        assert taken and lines[-1] == "agent reception: to 0600 fits '0600'"


def test_a_header_that_is_given_replaces_ours(capsys: pytest.CaptureFixture[str]) -> None:
    question = Question(to="1", from_="7", headers=["From: <sip:+4930@x>;tag=1", "To: <sip:sales@y>"], trunk="pbx")
    _, lines = told(capsys, question)
    assert lines[0] == "call to '1', from '+4930', to_header 'sales@y', trunk 'pbx'"


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (Question(to="1", trunk="nix"), "--trunk nix: there is no such trunk; there are: pbx"),
        (Question(to="1", source="notanip"), "--source notanip: write an IP address, for example 192.0.2.53"),
        (Question(to="1", source="10.0.0.0/8"), "--source 10.0.0.0/8: write an IP address"),
        (Question(to="1", source=""), "--source : write an IP address"),
        (Question(to="sip:a b"), "--to sip:a b: Malformed URI: write a number"),
        (Question(to="1@[::"), "--to 1@[::"),
        (Question(to="1", from_="a@@b c"), "--from a@@b c"),
        (Question(to="1", headers=["X Queue: 1"]), "--header 'X Queue: 1': write it as 'Name: value'"),
        (Question(to="1", headers=["X-Queue"]), "write it as 'Name: value'"),
        (Question(to="1", headers=["X-Queue: a\nb"]), "one line, please"),
        (Question(invite=Path("/nowhere/x")), "--invite /nowhere/x: cannot be read: No such file"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(question: Question, words: str) -> None:
    with pytest.raises(RouteError) as caught:
        run_route(CONFIG, question)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello", "not a SIP request"),
        (b"SIP/2.0 200 OK\r\n\r\n", "not a SIP request"),
        (b"x" * (MAX_INVITE + 1), "longer than"),
        (b"", "not a SIP request"),
        (bytes(range(256)), "is no SIP message in text: export the INVITE as text"),
        (b"INVITE\0", "is no SIP message in text"),
    ],
)
def test_a_file_that_is_no_invite(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "invite.txt"
    path.write_bytes(data)
    with pytest.raises(RouteError, match=words):
        run_route(CONFIG, Question(invite=path))
