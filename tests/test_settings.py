"""Configuration: every key from file and environment, and errors that name line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config import Config, SemanticVad, ServerVad
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
        ("sip:\n  listen: 5060", "sipbridge.yaml:2: sip.listen: 5060: input should be a valid tuple"),
        ("sip:\n  listen: '5060'", "sipbridge.yaml:2: sip.listen.0: '5060': write it as udp://HOST:PORT"),
        ("agents: {a: {provider: gemini}}", "sipbridge.yaml:1: agents.a.provider: 'gemini': not in this version"),
        ("agents: {a: {provider: opnai}}", "sipbridge.yaml:1: agents.a.provider: 'opnai': use openai, builtin"),
        ("agents: {a: {provider: 'ws://[::1'}}", "agents.a.provider: 'ws://[::1': write it as wss://HOST/v1/realtime"),
        ("agents: {a: {url: 'http://x/'}}", "agents.a.url: 'http://x/': write it as wss://HOST/v1/realtime"),
        ("agents: {a: {tools: [fly]}}", "sipbridge.yaml:1: agents.a.tools: ['fly']: there is no built-in tool"),
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
"""
    agents = load(write(tmp_path, text), {}).agents
    assert agents["a"].turn_detection == SemanticVad(type="semantic_vad")
    assert agents["b"].turn_detection is None
    assert agents["c"].turn_detection == ServerVad(silence_duration_ms=700)
