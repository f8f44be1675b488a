"""The small texts of the configuration, servers, hosts, users, targets, networks: what is wrong with one, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bridge.config import Config
from bridge.config.trunk import Register
from bridge.settings import ConfigError, load
from bridge.signalling import listen_addresses
from bridge.sip.uri import Uri
from bridge.trunks import binding_of

REGISTER = "trunks:\n  p:\n    register: {%s, password: x}"
ACCOUNT = REGISTER % "server: %s, user: u"
DOMAIN = REGISTER % "server: a, user: u, domain: %s"
USER = REGISTER % "server: a, user: %s"
TARGET = "agents: {a: {transfer: {targets: {x: '%s'}}}}"
LISTEN = "sip:\n  listen: [%s]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ACCOUNT % "'sip:x:99999'", "yaml:3: trunks.p.register.server.0: 'sip:x:99999': there is no port 99999: use 1"),
        (ACCOUNT % "'x:0'", "trunks.p.register.server.0: 'x:0': there is no port 0: use 1 to 65535"),
        (ACCOUNT % "'[1::2::3]'", "'[1::2::3]': [1::2::3] is no IPv6 address: write it as"),
        (ACCOUNT % "sip:x;transport=ws", "'sip:x;transport=ws': there is no transport 'ws' here: use udp, tcp or tls"),
        (ACCOUNT % "'sip:x;lr;Transport=SCTP;a'", "there is no transport 'SCTP' here"),
        (ACCOUNT % "sip:x;transport", "there is no transport '' here"),
        (ACCOUNT % "sips:x;transport=udp", "sips: never goes over udp"),
        ("trunks: {p: {proxy: 'sip:1.2.3.4:99999'}}", "yaml:1: trunks.p.proxy: 'sip:1.2.3.4:99999': there is no port"),
        ("trunks: {p: {proxy: 'sip:a;transport=ws'}}", "trunks.p.proxy: 'sip:a;transport=ws': there is no transport"),
        (DOMAIN % "a b", "yaml:3: trunks.p.register.domain: 'a b': write a host, for example pbx.example"),
        (DOMAIN % "'sip:a'", "trunks.p.register.domain: 'sip:a': write a host"),
        (DOMAIN % "'[::1'", "trunks.p.register.domain: '[::1': write a host"),
        (DOMAIN % "'a:70000'", "trunks.p.register.domain: 'a:70000': there is no port 70000"),
        (USER % '"a\\nb"', r"yaml:3: trunks.p.register.user: 'a\nb': control characters cannot be used here"),
        (USER % '"a\\ud800"', "control characters cannot be used here"),
        (USER % 'u, auth_user: "a\\u0085"', r"trunks.p.register.auth_user: 'a\x85': control characters"),
        (USER % "a@b c", "yaml:3: trunks.p.register: user 'a@b c': behind @ stands a host, as in 600@pbx.example"),
        (USER % "a@", "user 'a@': behind @ stands a host"),
        (USER % "'@b'", "user '@b': behind @ stands a host"),
        (TARGET % "sip:1@x:99999", "agents.a.transfer.targets.x: 'sip:1@x:99999': there is no port 99999"),
        (TARGET % "sip:1@x;transport=ws", "'sip:1@x;transport=ws': there is no transport 'ws' here"),
        (TARGET % "tel:+49;=x", "'tel:+49;=x': write a URI as"),
        (TARGET % "/2", "'/2': an expression has a slash at its end too: write /2/; a text with a slash is [/]2"),
        (TARGET % "/(a+)+/", "'/(a+)+/': a repeated group"),
        (
            "agents: {a: {}}\nroutes: [{to: /600, agent: a}]",
            "yaml:2: routes.0.to: '/600': an expression has a slash at",
        ),
        (LISTEN % "udp://127.0.0.1, udp://127.0.0.1:5060", "yaml:2: sip.listen.1: udp://127.0.0.1:5060: udp://127.0"),
        (LISTEN % "'udp://[::1]', 'udp://[0:0::1]'", "udp://[0:0::1]: udp://[::1] has this address and port: keep one"),
        (
            "sip: {listen: ['tcp://0.0.0.0:5061', 'tls://0.0.0.0'], tls: {certificate: CERT}}",
            "sip.listen.1: tls://0.0.0.0: tcp://0.0.0.0:5061 has this address and port",
        ),
        (
            "trunks:\n  a: {peers: [192.0.2.1, 10.0.0.0/8]}\n  b:\n    peers: [10.1.2.3/8]",
            "yaml:4: trunks.b.peers.0: 10.1.2.3/8: trunk a has this network already",
        ),
        ("trunks: {a: {peers: ['::1']}, b: {peers: ['0::1/128']}}", "trunks.b.peers.0: 0::1/128: trunk a has this"),
        ("registrar: {realm: 'a\"b'}", "registrar.realm: 'a\"b': use 1 to 128 letters, digits and signs"),
        ("registrar: {realm: ''}", "registrar.realm: '': use 1 to 128"),
    ],
)
def test_a_fault_stops_the_start_with_file_line_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "sipbridge.yaml"
    (tmp_path / "cert.pem").write_text("x")
    file.write_text(text.replace("CERT", str(tmp_path / "cert.pem")))
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert expected in str(caught.value)


def test_what_looks_alike_but_is_not_the_same_is_taken(tmp_path: Path) -> None:
    text = """\
sip: {listen: [udp://127.0.0.1:5060, tcp://127.0.0.1:5060, udp://127.0.0.2, udp://127.0.0.1:0, udp://127.0.0.1:0]}
trunks:
  a: {peers: [10.0.0.0/8, 10.0.0.0/8], proxy: "sip:[2001:db8::1]:65535;transport=TLS"}
  b: {peers: [10.0.0.0/9], register: {server: "sips:x;transport=tcp", user: u, domain: "::1", password: x}}
agents: {a: {transfer: {targets: {x: "tel:+4930;ext=1", y: "sip:a;b@h;transport=tcp", z: "[/]2"}}}}
"""
    file = tmp_path / "sipbridge.yaml"
    file.write_text(text)
    config = load(file, {})
    assert len(config.sip.endpoints()) == 5
    assert config.trunks["b"].register_[0].domain == "[::1]"


def register(**keys: Any) -> Register:
    return Register.model_validate({"server": "pbx.example", "password": "x"} | keys)


@pytest.mark.parametrize(
    ("keys", "user", "login"),
    [
        ({"user": "us er"}, "sip:us%20er@pbx.example", "us er"),
        ({"user": '"'}, "sip:%22@pbx.example", '"'),
        ({"user": "a@b"}, "sip:a@b", "a@b"),
        ({"user": "a@b:5070"}, "sip:a@b:5070", "a@b:5070"),
        ({"user": "a@b", "auth_user": "c"}, "sip:a@b", "c"),
        ({"user": "a@b", "domain": "d"}, "sip:a%40b@d", "a@b"),
        ({"user": "a@b c", "domain": "d"}, "sip:a%40b%20c@d", "a@b c"),
        ({"user": "a:b"}, "sip:a%3Ab@pbx.example", "a:b"),
        ({"user": "a", "server": "sips:[::1]:5070"}, "sips:a@[::1]", "a"),
    ],
)
def test_any_user_becomes_an_address_of_record(keys: dict[str, Any], user: str, login: str) -> None:
    binding = binding_of(register(**keys))
    assert (str(binding.user), binding.credentials[0].user) == (user, login)


_PIECES = st.sampled_from(
    ["sip:", "sips:", "a", "[::1]", "[", ":", "99999", "5060", ";", "transport=", "tls", "@", " "]
)
_TEXTS = st.one_of(st.lists(_PIECES, max_size=6).map("".join), st.text(max_size=12))


@given(user=_TEXTS, domain=st.none() | _TEXTS, server=_TEXTS, target=_TEXTS)
def test_what_is_accepted_can_be_started_with(user: str, domain: str | None, server: str, target: str) -> None:
    """A fault, or an account to register: nothing that is first noticed later."""
    for more in ({"user": user, "domain": domain}, {"user": "u", "server": server}):
        try:
            account = register(**more)
        except ValidationError:
            continue
        binding = binding_of(account)
        assert binding.user.user == account.address_of_record[0]
    try:
        config = Config.model_validate({"agents": {"a": {"transfer": {"targets": {"x": target}}}}})
    except ValidationError:
        return
    listen_addresses(config)
    if target.startswith(("sip:", "sips:", "tel:")):
        assert Uri.parse(target).user is not None


@pytest.mark.parametrize(
    ("routes", "hidden"),
    [
        ([{"to": "1"}, {}, {"to": "2"}, {}], [(3, 2), (4, 2)]),
        ([{"to": "*", "from": "*"}, {"to": "2"}], [(2, 1)]),
        ([{"to": "1"}, {}], []),
        ([{"trunk": "p"}, {"header": {"X-A": "*"}}, {"to": "*@*"}, {"to": "1"}], []),
        ([], []),
    ],
)
def test_routes_behind_one_that_takes_everything(routes: list[dict[str, Any]], hidden: list[tuple[int, int]]) -> None:
    whole = {"trunks": {"p": {}}, "agents": {"a": {}}, "routes": [route | {"agent": "a"} for route in routes]}
    assert list(Config.model_validate(whole).hidden_routes()) == hidden
