"""Whose phones are ours: users of the registrar at this very service, and nobody else's."""

from __future__ import annotations

import pytest

from bridge.config import Config
from bridge.phones import Phones
from bridge.sip.registrar import Registrar
from bridge.sip.ua import ListenAddress, UserAgent
from bridge.sip.uri import Uri
from bridge.transfer.targets import Targets

SETTINGS = Config.model_validate({"registrar": {"realm": "Phones.Example", "users": {"alice": {"password": "x"}}}})
BASE = Uri.parse("sip:192.0.2.1:5080;transport=tcp")


@pytest.fixture
async def phones() -> Phones:
    registrar = Registrar("r", {"alice": "x"}, lambda: 0.0)
    listen = [ListenAddress("udp", "127.0.0.1", 0)]
    agent = UserAgent(listen=listen, on_invite=lambda invitation: None, registrar=registrar)
    agent.local = [("udp", "127.0.0.1", 5060), ("tcp", "::1", 5070), ("udp", "0.0.0.0", 5080)]
    return Phones(SETTINGS.registrar, agent, ["203.0.113.7"])


@pytest.mark.parametrize(
    ("target", "ours"),
    [
        ("sip:alice@localhost", True),
        ("sip:alice@phones.example", True),
        ("sip:alice@127.0.0.1", True),
        ("sip:alice@127.0.0.1:5080;transport=tcp", True),
        ("sip:alice@[::1]:5070", True),
        ("sip:alice@203.0.113.7", True),
        ("sip:alice@203.0.113.7:5061", False),
        ("sip:alice@127.0.0.1:5061", False),
        ("sip:bob@localhost", False),
        ("sip:localhost", False),
        ("sip:alice@pbx.example", False),
        ("sip:alice@192.0.2.1", False),
        ("tel:alice", False),
    ],
)
async def test_a_phone_of_ours_is_a_user_at_this_service(phones: Phones, target: str, ours: bool) -> None:
    assert phones.is_one(Uri.parse(target)) is ours


async def test_who_is_not_registered_is_not_found(phones: Phones) -> None:
    assert phones.find(Uri.parse("sip:alice@localhost")) is None


def test_a_bare_name_is_a_phone_of_ours_before_it_is_a_number_of_the_pbx() -> None:
    targets = Targets({"reception": "alice", "all": "7??", "pbx": "sip:alice@192.0.2.1"}, phones=["alice", "701"])
    found = {wanted: str(targets.find(wanted, BASE)) for wanted in ("reception", "701", "702", "pbx")}
    assert found == {
        "reception": "sip:alice@localhost",
        "701": "sip:701@localhost",
        "702": "sip:702@192.0.2.1:5080;transport=tcp",
        "pbx": "sip:alice@192.0.2.1",
    }
