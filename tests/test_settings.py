"""Configuration: every key from file and environment, and errors that name line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config import PROVIDERS, Config, OwnTurns, SemanticVad, ServerVad
from bridge.config.tools import BUILT_IN_TOOLS
from bridge.settings import ConfigError, load

DESIGN = """\
sip:
  listen: [udp://0.0.0.0:5060, tcp://0.0.0.0:5060]
  advertise: auto
trunks:
  pbx: {peers: [10.0.0.0/8], register: {server: pbx.local, user: "600", password: ${PBX_PASSWORD}}}
media: {ports: 20000-20999, append_ms: 20}
agents:
  reception:
    provider: openai
    model: gpt-realtime-2.1
    voice: marin
    instructions: You answer for the bicycle shop.
    greeting: Say hello and ask how you can help.
    tools: [hang_up, transfer]
routes:
  - {to: "600", agent: reception}
  - {to: "*", agent: reception}
limits: {calls: 200, calls_per_second: 50, minutes: 60}
http: {listen: 127.0.0.1:8080}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "sipbridge.yaml"
    path.write_text(text)
    return path


def faults(folder: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text), environ)
    return str(caught.value).replace(f"{folder}/", "").split("\n")


def test_the_whole_shape_is_read(tmp_path: Path) -> None:
    config = load(write(tmp_path, DESIGN), {"PBX_PASSWORD": "geheim"})
    assert [(e.transport, e.host, e.port) for e in config.sip.endpoints()] == [
        ("udp", "0.0.0.0", 5060),
        ("tcp", "0.0.0.0", 5060),
    ]
    (register,) = config.trunks["pbx"].register_
    assert register.server == ("sip:pbx.local",)
    assert register.credentials == ("600", "geheim")
    assert config.media.port_range == (20000, 20999)
    assert config.agents["reception"].tools == ("hang_up", "transfer")
    assert [route.to for route in config.routes] == ["600", "*"]
    assert config.http.address == ("127.0.0.1", 8080)


def test_a_password_is_not_in_the_printed_configuration(tmp_path: Path) -> None:
    config = load(write(tmp_path, DESIGN), {"PBX_PASSWORD": "geheim"})
    assert "geheim" not in repr(config)


def test_without_a_file_the_defaults_answer_every_call() -> None:
    config = load(None, {})
    assert config == Config()
    assert list(config.agents) == ["default"]
    assert config.agents["default"].turn_detection == ServerVad()


def test_every_key_comes_from_the_environment_too(tmp_path: Path) -> None:
    environ = {
        "PBX_PASSWORD": "x",
        "BRIDGE_MEDIA__PORTS": "30000-30100",
        "BRIDGE_LIMITS__CALLS": "3",
        "BRIDGE_SIP__LISTEN": "udp://127.0.0.1:5070",
        "BRIDGE_AGENTS__RECEPTION__VOICE": "cedar",
        "BRIDGE_LOG__TRANSCRIPTS": "true",
        "BRIDGE_AGENTS__RECEPTION__TURN_DETECTION__THRESHOLD": "0.7",
    }
    config = load(write(tmp_path, DESIGN), environ)
    assert config.media.ports == "30000-30100"
    assert config.limits.calls == 3
    assert config.sip.listen == ("udp://127.0.0.1:5070",)
    agent = config.agents["reception"]
    assert (agent.voice, agent.model) == ("cedar", "gpt-realtime-2.1")
    assert isinstance(agent.turn_detection, ServerVad) and agent.turn_detection.threshold == 0.7
    assert config.log.transcripts


def test_a_fault_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigError, match=r"^BRIDGE_MEDIA__APPEND_MS: media\.append_ms: 5: .*20"):
        load(None, {"BRIDGE_MEDIA__APPEND_MS": "5"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sip: {lissten: []}", "sipbridge.yaml:1: sip.lissten: unknown key; did you mean `listen`?"),
        ("\nsipp: {}", "sipbridge.yaml:2: sipp: unknown key; did you mean `sip`?"),
        ("media: {ports: 20000-1}", "sipbridge.yaml:1: media.ports: '20000-1': the range must lie within"),
        ("limits:\n  calls: 0", "sipbridge.yaml:2: limits.calls: 0: input should be greater than or equal to 1"),
        ("limits:\n  calls: many", "sipbridge.yaml:2: limits.calls: 'many': input should be a valid integer"),
        ("sip:\n  advertise: 0.0.0.0", "sipbridge.yaml:2: sip.advertise: '0.0.0.0': peers cannot send to this"),
        ("sip:\n  listen: ['5060']", "sipbridge.yaml:2: sip.listen.0: '5060': write it as udp://HOST:PORT"),
        ("sip:\n  listen: 5060", "sipbridge.yaml:2: sip.listen.0: 5060: write it as udp://HOST:PORT"),
        ("sip:\n  listen: '5060'", "sipbridge.yaml:2: sip.listen.0: '5060': write it as udp://HOST:PORT"),
        (
            "agents: {a: {provider: opnai}}",
            f"sipbridge.yaml:1: agents.a.provider: 'opnai': use {', '.join(PROVIDERS)}, or the ws:// URL of",
        ),
        ("agents: {a: {provider: azure}}", "sipbridge.yaml:1: agents.a: provider: azure needs `url`"),
        ("agents: {a: {provider: elevenlabs}}", "agents.a: provider: elevenlabs needs `model`, the agent's id there"),
        ("agents: {a: {provider: 'ws://[::1'}}", "agents.a.provider: 'ws://[::1': write it as wss://HOST/v1/realtime"),
        ("agents: {a: {url: 'http://x/'}}", "agents.a.url: 'http://x/': write it as wss://HOST/v1/realtime"),
        (
            "agents: {a: {tools: [fly]}}",
            f"sipbridge.yaml:1: agents.a.tools.0: 'fly': there is no built-in tool 'fly': "
            f"use {' or '.join(BUILT_IN_TOOLS)}",
        ),
        ("agents: {a: {turn_detection: {threshold: 3}}}", "agents.a.turn_detection.threshold: 3: input should"),
        ("agents: {a: {turn_detection: {treshold: 1}}}", "did you mean `threshold`?"),
        (
            "agents: {a: {}}\nroutes:\n  - {to: '6', agent: b}",
            "sipbridge.yaml:3: routes.0.agent: there is no agent 'b'; there are: a",
        ),
        ("agents: {}", "sipbridge.yaml:1: agents: at least one agent must answer"),
        ("media: {}\nsip: {}\nmedia: {}", "sipbridge.yaml:3: media: stands in the file twice"),
        ("agents: {a: {voice: x, voice: y}}", "sipbridge.yaml:1: agents.a.voice: stands in the file twice"),
        ("sip: {listen: []}", "sipbridge.yaml:1: sip.listen: []: name an address to listen on"),
        ("sip: {advertise: pbx.local}", "sipbridge.yaml:1: sip.advertise: 'pbx.local': write an IP address, or auto"),
        ("agents: {a: {max_output_tokens: 5000}}", "agents.a.max_output_tokens: 5000: use a number from 1 to 4096"),
        ("media: {ports: 20000-20000}", "media.ports: '20000-20000': the range must lie within"),
        ("trunks: {p: {peers: [10.0.0.0.0/8]}}", "write a network as 10.0.0.0/8"),
        ("a: [", "sipbridge.yaml:1: not YAML"),
        ("- 1", "sipbridge.yaml:1: write sections such as"),
        (
            "agents: {a: {key: '${NO_SUCH}'}}",
            "sipbridge.yaml:1: agents.a.key: ${NO_SUCH} is not set in the environment",
        ),
    ],
)
def test_a_fault_names_the_line_and_what_would_be_right(tmp_path: Path, text: str, expected: str) -> None:
    assert any(expected in fault for fault in faults(tmp_path, text)), faults(tmp_path, text)


WHOLE = """\
sip:
  listen: [udp://0.0.0.0:5060, "tls://[::]:5061"]
  tls: {certificate: CERT, key: CERT, ca: CERT, verify_servers: true, client_certificates: false, minimum: 1.2}
  session_timer: {expires_s: 1800, min_s: 90, refresher: auto}
  reliable: off
  early_media: true
  nameservers: [192.0.2.53, "2001:db8::53"]
trunks:
  pbx:
    peers: [10.0.0.0/8]
    users: {"0700": {password: geheim}}
    register:
      - {server: "sip:pbx.local;transport=tcp", user: 0600, password: geheim}
      - {server: [a.example, "b.example:5070"], user: u, domain: d.example, auth_user: v, password: x, expires_s: 60}
    proxy: sip:proxy.example;lr
    calls: 20
    calls_per_second: 5
    srtp: off
    headers: [X-Customer, X-Queue]
registrar: {realm: shop, users: {alice: {password: hush}}, expires_s: 600}
agents:
  reception:
    instructions: "You talk to {caller_name}, customer {header[x-customer]}. {{ is a brace."
    transfer: {targets: {sales: "sip:200@pbx.local", support: "2??", mobile: "tel:+4930"}, method: refer, timeout_s: 20}
    tools: [hang_up, transfer, send_digits]
routes:
  - {to: 0600, agent: reception}
  - {from: +4930*, trunk: pbx, agent: reception}
  - {from: +493012345, agent: reception}
  - {to: '/^6\\d\\d$/', agent: reception}
  - {to_header: "sales@*", diverted_from: 200, header: {X-Queue: "vip*"}, agent: reception}
limits: {calls: 200, calls_per_second: 50, per_source: {calls: 100, calls_per_second: 20}, minutes: 60}
"""


def whole(folder: Path, **environ: str) -> Config:
    certificate = folder / "cert.pem"
    certificate.write_text("-----BEGIN CERTIFICATE-----\n")
    return load(write(folder, WHOLE.replace("CERT", str(certificate))), environ)


def test_every_key_of_the_user_agent_is_read(tmp_path: Path) -> None:
    config = whole(tmp_path)
    assert config.sip.tls.key == tmp_path / "cert.pem" and config.sip.tls.minimum == "1.2"
    assert (config.sip.reliable, config.sip.early_media) == ("off", True)
    assert config.sip.nameservers == ("192.0.2.53", "2001:db8::53")
    pbx = config.trunks["pbx"]
    assert (pbx.srtp, pbx.proxy, pbx.headers) == ("off", "sip:proxy.example;lr", ("X-Customer", "X-Queue"))
    first, second = pbx.register_
    assert (first.server, first.expires_s, first.credentials) == (
        ("sip:pbx.local;transport=tcp",),
        300,
        ("0600", "geheim"),
    )
    assert second.server == ("sip:a.example", "sip:b.example:5070")
    assert (second.domain, second.credentials) == ("d.example", ("v", "x"))
    assert [(trunk, name) for trunk, name, _ in config.callers()] == [("pbx", "0700"), ("", "alice")]
    assert config.agents["reception"].transfer.targets["support"] == "2??"
    assert config.limits.per_source.calls == 100


def test_telephone_numbers_stay_as_they_are_written(tmp_path: Path) -> None:
    """YAML 1.1 takes 0600 for octal, +49 for an integer, 12:30 for minutes; nobody who writes a number means so."""
    routes = whole(tmp_path).routes
    assert [route.to for route in routes[:1]] == ["0600"]
    assert [route.from_ for route in routes[1:3]] == ["+4930*", "+493012345"]
    assert routes[4].diverted_from == "200"
    texts = load(write(tmp_path, "agents: {a: {voice: 12:30}, b: {voice: 2026-01-02}}"), {}).agents
    assert [texts["a"].voice, texts["b"].voice] == ["12:30", "2026-01-02"]


def test_numbers_and_passwords_from_the_environment_stay_as_they_are_too() -> None:
    environ = {
        "BRIDGE_TRUNKS__PBX__REGISTER__SERVER": "a.example, b.example",
        "BRIDGE_TRUNKS__PBX__REGISTER__USER": "0600",
        "BRIDGE_TRUNKS__PBX__REGISTER__PASSWORD": "0x10: {#",
        "BRIDGE_TRUNKS__PBX__HEADERS": "X-A,X-B",
        "BRIDGE_REGISTRAR__USERS__ALICE__PASSWORD": "007",
        "BRIDGE_SIP__SESSION_TIMER__EXPIRES_S": "0",
        "BRIDGE_SIP__RELIABLE": "off",
        "BRIDGE_LIMITS__PER_SOURCE__CALLS": "7",
        "BRIDGE_ROUTES": "[{to: 0600, agent: default}]",
    }
    config = load(None, environ)
    pbx = config.trunks["pbx"]
    (register,) = pbx.register_
    assert register.server == ("sip:a.example", "sip:b.example")
    assert register.credentials == ("0600", "0x10: {#")
    assert pbx.headers == ("X-A", "X-B")
    assert config.registrar.users["alice"].password.get_secret_value() == "007"
    assert (config.sip.session_timer.expires_s, config.sip.reliable) == (0, "off")
    assert config.limits.per_source.calls == 7
    assert config.routes[0].to == "0600"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "sip:\n  listen: ['tls://0.0.0.0']",
            "yaml:2: sip.listen: tls:// needs a certificate: name it in sip.tls.certif",
        ),
        (
            "sip:\n  tls: {certificate: /no/cert}",
            "yaml:2: sip.tls.certificate: '/no/cert': there is no such file",
        ),
        ("sip: {tls: {key: FILE}}", "sip.tls.key: a key needs its certificate"),
        ("sip: {tls: {client_certificates: true}}", "sip.tls.client_certificates: say in sip.tls.ca who signs"),
        ("sip: {tls: {minimum: 1.1}}", "sip.tls.minimum: '1.1': input should be '1.2' or '1.3'"),
        ("sip: {session_timer: {expires_s: 60}}", "sip.session_timer.expires_s: 60: write 0 for off, or at least 90"),
        (
            "sip: {session_timer: {min_s: 30}}",
            "sip.session_timer.min_s: 30: input should be greater than or equal to 90",
        ),
        ("sip: {reliable: on}", "sip.reliable: 'on': input should be 'off', 'supported' or 'required'"),
        ("sip: {nameservers: [dns.example]}", "sip.nameservers.0: 'dns.example': write an IP address"),
        (
            "trunks: {p: {register: {server: 'sip:a b', user: u, password: x}}}",
            "trunks.p.register.server.0: 'sip:a b': write it as",
        ),
        ("trunks: {p: {register: {server: sip:u@a, user: u, password: x}}}", "'sip:u@a': write it as pbx.example"),
        (
            "trunks:\n  p:\n    register: {server: a, usr: u, password: x}",
            "yaml:3: trunks.p.register.usr: unknown key; did",
        ),
        (
            "trunks: {p: {register: {user: u, password: x}}}",
            "sipbridge.yaml:1: trunks.p.register.server: must be given",
        ),
        ("trunks: {p: {srtp: yes}}", "trunks.p.srtp: 'on': input should be 'off', 'optional' or 'required'"),
        ("trunks: {p: {headers: [X A]}}", "trunks.p.headers.0: 'X A': write the name of a header"),
        ("trunks: {p: {headers: [X-A, x-a]}}", "a header stands in the list twice"),
        ("trunks: {p: {headers: [a, b, c, d, e, f, g, h, i]}}", "at most 8 headers"),
        (
            "trunks: {p: {users: {a: {password: x}}}, q: {users: {a: {password: y}}}}",
            "trunks.q.users.a: this user is there",
        ),
        ("registrar:\n  users: {a: {}}", "yaml:2: registrar.users.a.password: must be given"),
        (
            "agents: {a: {transfer: {targets: {x: 'sip:'}}}}",
            "transfer.targets.x: 'sip:': write a URI as sip:200@pbx.example",
        ),
        ("agents: {a: {transfer: {targets: {x: '2 0'}}}}", "transfer.targets.x: '2 0': write a URI"),
        (
            "agents:\n  a:\n    greeting: Hello {callr}",
            "yaml:3: agents.a.greeting: 'Hello {callr}': there is no variable",
        ),
        (
            "agents: {a: {instructions: 'of {header[X-A]}'}}",
            "agents.a.instructions: no trunk takes over x-a: name it in tr",
        ),
        (
            "agents: {a: {}}\nroutes: [{trunk: pbx, agent: a}]",
            "yaml:2: routes.0.trunk: there is no trunk 'pbx'; there are: n",
        ),
        ("agents: {a: {}}\nroutes: [{to: '/(a+)+/', agent: a}]", "routes.0.to: '/(a+)+/': a repeated group"),
        (
            "agents: {a: {}}\nroutes: [{header: {X-A: '/(/'}, agent: a}]",
            "routes.0.header.X-A: '/(/': not a regular expr",
        ),
        ("agents: {a: {}}\nroutes: [{form: '1', agent: a}]", "routes.0.form: unknown key; did you mean `from`?"),
        ("limits: {per_source: {calls: 0}}", "limits.per_source.calls: 0: input should be greater"),
    ],
)
def test_a_fault_of_the_user_agents_keys_names_the_line_too(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "key.pem").write_text("x")
    told = faults(tmp_path, text.replace("FILE", str(tmp_path / "key.pem")))
    assert any(expected in fault for fault in told), told


WEBHOOK = "url: 'https://app.example/x'"


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("provider: gemini, barge_in: reversible", "barge_in: reversible cannot be had of gemini, which alone decides"),
        ("provider: live, turn_detection: manual", "turn_detection: manual cannot be had of live, which alone decides"),
        (
            "provider: gemini, tools: [{type: mcp, server_label: s, server_url: 'https://m.example'}]",
            "gemini takes no tools of `type: mcp`: use a webhook instead",
        ),
        ("tools: [{type: mcp, server_label: s}]", "needs one of `server_url`, `connector_id`, `tunnel_id`"),
        ("tools: [{name: t}]", "a tool of your own needs `type: function` or `type: mcp`"),
        ("tools: [hang_up, hang_up]", "two tools have the name 'hang_up': a name can be used once"),
        ("tools: [{type: function, name: t}]", ".webhook: must be given"),
        (
            f"tools: [{{type: function, name: t u, webhook: {{{WEBHOOK}}}}}]",
            ".name: 't u': use 1 to 64 of A-Z a-z 0-9 _ -",
        ),
        (
            f"tools: [{{type: function, name: t, parameters: {{type: array}}, webhook: {{{WEBHOOK}}}}}]",
            ".parameters: must be of `type: object`",
        ),
        (f"tools: [{{type: function, name: t, webhook: {{{WEBHOOK}, timeout: 1}}}}]", "did you mean `timeout_s`?"),
        (f"tools: [{{type: function, name: t, webhook: {{{WEBHOOK}, secret: brief}}}}]", "secret: use 16 characters"),
        (
            f"tools: [{{type: function, name: t, webhook: {{{WEBHOOK}, filler: {{after_s: 2}}}}}}]",
            ".filler: name what the caller shall hear: `say`, or `sound`",
        ),
        ("provider: builtin, pipeline: {brain: {url: 'host/v1', model: m}}", "write it as http://HOST:PORT/v1"),
        ("provider: builtin, pipeline: {brain: {url: 'http://h/v1'}}", "agents.a.pipeline.brain.model: must be given"),
        ("pipeline: {}", "pipeline belongs to `provider: builtin`, without `url`"),
        ("plan_b: {}", "agents.a.plan_b: needs something to do: `say`, `file` or `transfer`"),
        ("plan_b: {transfer: desk}", "plan_b.transfer: 'desk' is not in transfer.targets; there are: none"),
        ("plan_b: {file: /no.wav}", "agents.a.plan_b.file: '/no.wav': there is no such file"),
        ("idle: 1", "agents.a.idle.after_s: 1: input should be greater than or equal to 3"),
        ("idle: soon", "agents.a.idle: 'soon': write {after_s: 15}"),
        ("idle: 20, turn_detection: {idle_timeout_ms: 6000}", "would both ask the silent caller: keep one of them"),
        ("limit: {warn_s: 10}", "agents.a.limit.minutes: must be given"),
        ("limit: 90", "agents.a.limit.minutes: limits.minutes is 60: no call gets that far; raise it there"),
        (
            "timezone: Berlin",
            "agents.a.timezone: 'Berlin': there is no such time zone: write it as Europe/Berlin",
        ),
        ("hold_music: /no.wav", "agents.a.hold_music: '/no.wav': there is no such file"),
        ("server: {truncate: maybe}", "agents.a.server.truncate: 'maybe': input should be 'yes', 'replace', 'note' or"),
        ("recovery: 10", "agents.a.recovery: 10: write {patience_s: 10}"),
        ("recovery: {keep_s: 90}", "agents.a.recovery.keep_s: 90: input should be less than or equal to 60"),
        ("warm: 50", "agents.a.warm: 50: input should be less than or equal to 20"),
    ],
)
def test_a_fault_of_an_agents_keys_names_what_would_be_right(tmp_path: Path, agent: str, expected: str) -> None:
    told = faults(tmp_path, f"agents:\n  a: {{{agent}}}")
    assert any(fault.startswith("sipbridge.yaml:2: agents.a") and expected in fault for fault in told), told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("limits: {spend: {per_call: 1}}", "limits.spend: nothing has a price: write prices.models.<name>"),
        ("limits: {spend: 5}", "limits.spend: 5: write {per_call: ...}"),
        ("prices: {models: {m: {text: 1}}}", "prices.models.m.text: unknown key; did you mean `text_in`?"),
        ("prices: {models: {'/(/': {text_in: 1}}}", "'/(/': not a regular expression"),
        ("transcripts: {folder: /no/folder}", "transcripts.folder: '/no/folder': there is no such folder: create it"),
    ],
)
def test_a_fault_of_money_and_transcripts_names_what_would_be_right(tmp_path: Path, text: str, expected: str) -> None:
    (fault,) = faults(tmp_path, text)
    assert expected in fault


@pytest.mark.parametrize(
    "text",
    [
        f"tools: [{{type: function, name: t, webhook: {{{WEBHOOK}, secret: [geheim]}}}}]",
        f"tools: [{{type: function, name: t, webhook: {{{WEBHOOK}, secret: geheim}}}}]",
        f"tools: [{{type: function, name: t, webhook: {{{WEBHOOK}, headers: {{Authorization: [geheim]}}}}}}]",
        f"tools: [{{type: function, name: t, webhook: {{{WEBHOOK}, headers: geheim}}}}]",
        "tools: [{type: mcp, server_label: s, server_url: 'https://m.example', authorization: [geheim]}]",
        "provider: builtin, pipeline: {brain: {url: 'http://h/v1', model: m, key: [geheim]}}",
    ],
)
def test_a_secret_of_a_tool_or_pipeline_is_not_shown(tmp_path: Path, text: str) -> None:
    assert "geheim" not in "".join(faults(tmp_path, f"agents: {{a: {{{text}}}}}"))


@pytest.mark.parametrize(
    "text",
    [
        "registrar: {users: {alice: geheim}}",
        "registrar: {users: {alice: {password: [geheim]}}}",
        "registrar: {users: {alice: {password: '', pasword: geheim}}}",
        "trunks: {p: {users: {alice: geheim}}}",
        "trunks: {p: {register: {server: a, user: u, password: [geheim]}}}",
    ],
)
def test_a_password_in_the_wrong_place_is_not_shown(tmp_path: Path, text: str) -> None:
    assert "geheim" not in "".join(faults(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sip: {session_timer: 60}", "sip.session_timer: 60: write {expires_s: 1800}"),
        ("sip: 5060", "sip: 5060: write {listen: ...}"),
        ("trunks: 10.0.0.0/8", "trunks: '10.0.0.0/8': write {NAME: {peers: ...}}"),
        ("trunks: {p: null}", "trunks.p: None: write {peers: ...}"),
        ("trunks: {p: {register: x}}", "register: 'x': write a list: [{server: ..., user: ..., password: ...}]"),
        ("trunks: {p: {register: [x]}}", "register.0: 'x': write {server: ..., user: ..., password: ...}"),
        ("trunks: {p: {users: {a: x}}}", "trunks.p.users.a: write {password: ...}"),
        ("agents: {a: {turn_detection: 5}}", "agents.a.turn_detection: 5: write {type: server_vad}"),
        ("agents: {a: {transfer: {targets: 200}}}", "agents.a.transfer.targets: 200: write {NAME: ...}"),
        ("routes: {to: 5}", "routes: {'to': 5}: write a list: [{agent: ...}]"),
    ],
)
def test_a_value_where_a_section_is_meant_is_told_how_to_write_it(tmp_path: Path, text: str, expected: str) -> None:
    (fault,) = faults(tmp_path, text)
    assert fault.endswith(expected)


def test_no_password_is_in_the_printed_configuration(tmp_path: Path) -> None:
    printed = repr(whole(tmp_path))
    assert "geheim" not in printed and "hush" not in printed


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    assert len(faults(tmp_path, "media: {append_ms: 1, lead_ms: -1}\nlimits: {minutes: 0}")) == 3


def test_a_missing_file_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.yaml: there is no such file$"):
        load(tmp_path / "no.yaml", {})


def test_a_secret_with_a_wrong_type_is_not_shown(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "agents: {a: {key: [hush]}}")
    assert "hush" not in fault


def test_a_default_can_stand_in_a_variable(tmp_path: Path) -> None:
    config = load(write(tmp_path, "agents: {a: {voice: '${VOICE:-cedar}'}}"), {})
    assert config.agents["a"].voice == "cedar"


def test_turn_detection_in_all_its_forms(tmp_path: Path) -> None:
    text = """\
agents:
  a: {turn_detection: semantic_vad}
  b: {turn_detection: null}
  c: {turn_detection: {silence_duration_ms: 700}}
  d: {turn_detection: manual}
"""
    agents = load(write(tmp_path, text), {}).agents
    assert agents["a"].turn_detection == SemanticVad(type="semantic_vad")
    assert agents["b"].turn_detection is None
    assert agents["c"].turn_detection == ServerVad(silence_duration_ms=700)
    assert agents["d"].turn_detection == OwnTurns(type="manual")


def test_short_forms_of_an_agents_sections(tmp_path: Path) -> None:
    text = """\
agents:
  a: {idle: 20, limit: 10, plan_b: "Sorry.", server: {truncate: no}}
  b: {idle: on}
  c: {idle: off}
"""
    agents = load(write(tmp_path, text), {}).agents
    a = agents["a"]
    assert a.idle is not None and a.limit is not None and a.plan_b is not None
    assert (a.idle.after_s, a.limit.minutes, a.plan_b.say, a.server.truncate) == (20, 10, "Sorry.", "no")
    assert agents["b"].idle is not None and agents["b"].idle.after_s == 15
    assert agents["c"].idle is None


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("turn_detection: manuel", "agents.a.turn_detection: 'manuel': use 'server_vad', 'semantic_vad', 'manual'"),
        (
            "turn_detection: {type: manual, aggressiveness: 7}",
            "agents.a.turn_detection.aggressiveness: 7: input should",
        ),
        ("turn_detection: {type: manual, threshold: 1}", "threshold: unknown key; there are: aggressiveness, min_"),
        ("tools: [{name: t}]", "agents.a.tools.0: a tool of your own needs `type: function` or `type: mcp`"),
        ("language: German", "agents.a.language: 'German': write a language as de or en-US"),
    ],
)
def test_a_fault_in_one_of_several_forms_names_a_place_of_the_file(tmp_path: Path, agent: str, expected: str) -> None:
    told = faults(tmp_path, f"agents:\n  a: {{{agent}}}")
    assert any(fault.startswith("sipbridge.yaml:2: ") and expected in fault for fault in told), told


def test_an_agent_may_be_called_like_a_kind_of_section(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "agents: {manual: {warm: 50}}")
    assert "agents.manual.warm: 50" in fault


def test_tools_come_from_the_environment_with_commas_between() -> None:
    config = load(None, {"BRIDGE_AGENTS__DEFAULT__TOOLS": "hang_up,hold"})
    assert config.agents["default"].tools == ("hang_up", "hold")


def test_norwegian_needs_no_quotes(tmp_path: Path) -> None:
    assert load(write(tmp_path, "agents: {a: {language: no}}"), {}).agents["a"].language == "no"
