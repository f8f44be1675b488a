"""What the tests of transfers share: an agent that asks for one, and what it is told."""

from __future__ import annotations

import json
import random
from typing import Any

from bridge.agent.server import AgentSession
from tests.phones.rawpeer import RawPeer
from tests.phones.rawphone import Message, RawPhone
from tests.phones.wire import FRAME, Wire


def asks(target: str = "desk", *, audio_ms: int = 300, tool: str = "transfer", **arguments: str) -> str:
    """A script: say something, call the tool; whatever comes of it, say something else."""
    call = {"call": tool, "arguments": arguments or {"target": target}}
    first = {"on": "response_create", "nth": 1, "do": [{"response": {"items": [{"audio_ms": audio_ms}, call]}}]}
    return json.dumps({"vad": False, "rules": [first], "answer": {"items": [{"audio_ms": 400}]}})


def agent(method: str = "auto", *, timeout_s: float = 10, **targets: str) -> dict[str, Any]:
    """An agent that may transfer to these."""
    transfer = {"method": method, "timeout_s": timeout_s, "targets": targets}
    return {"greeting": "Begin.", "tools": ["transfer", "send_digits", "hang_up"], "transfer": transfer}


def results(session: AgentSession) -> list[dict[str, Any]]:
    """What the model was told of its tool calls."""
    created = [event["item"] for _, event in session.received if event["type"] == "conversation.item.create"]
    return [json.loads(item["output"]) for item in created if item["type"] == "function_call_output"]


def uri(peer: RawPhone) -> str:
    """Where a peer is called."""
    return f"sip:{peer.user}@127.0.0.1:{peer.port}"


def sound(seed: int, count: int = 40) -> list[bytes]:
    """Frames of noise in which no byte is one of silence."""
    noise = random.Random(seed)
    codes = [code for code in range(256) if code not in (0xFF, 0x7F, 0xD5, 0x55)]
    return [bytes(noise.choices(codes, k=FRAME)) for _ in range(count)]


def came(wire: Wire, frames: list[bytes]) -> list[bytes]:
    """Of these frames, those that came, in the order they came."""
    wanted = set(frames)
    return [packet.payload for packet in wire.packets if packet.payload in wanted]


def reason(bye: Message) -> str:
    """The text of a BYE's Reason."""
    return bye.header("Reason").partition('text="')[2].strip('"')


OUTCOME = 'sipbridge_transfers_total{{outcome="{}"}}'.format
ENDED = 'sipbridge_calls_total{{reason="{}"}}'.format

__all__ = ["ENDED", "OUTCOME", "RawPeer", "agent", "asks", "came", "reason", "results", "sound", "uri"]
