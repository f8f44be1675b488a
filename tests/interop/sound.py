"""What both sides say and press in these tests, and how to know it again after a softphone's own G.711 tables."""

from __future__ import annotations

import random
import re
from itertools import pairwise

from bridge.agent.patterns import counter, locate
from bridge.agent.server import AgentSession
from bridge.audio.g711 import Law, decode, encode

SENTENCE_MS = 1000
SENTENCE = counter(1, SENTENCE_MS * 8)
_ZERO = bytes.maketrans(b"\x7e\x7f\xfe", b"\xff\xff\xff")
"""The softphones' tables for µ-law differ by one step around zero: these words count as one."""

SAYS_A_SENTENCE = f"vad: false\nanswer: {{items: [{{audio_ms: {SENTENCE_MS}}}]}}"
SAYS_A_SENTENCE_LATER = f"vad: false\nanswer: {{first_byte_ms: 1200, items: [{{audio_ms: {SENTENCE_MS}}}]}}"
"""A softphone needs its time after the answer before it plays what it hears."""
TALK_S = 2.8
"""How long a call of that kind lasts until both sides have been heard."""
GREETS = {"greeting": "Begin."}


def words(seconds: float, seed: int = 5) -> bytes:
    """µ-law bytes without repetition that every encoder gives back from their own linear values."""
    return random.Random(seed).randbytes(round(seconds * 8000 / 160) * 160).replace(b"\x7f", b"\xff")


def linear(ulaw: bytes) -> bytes:
    """As 16-bit PCM, for a softphone to say."""
    return decode(ulaw, Law.PCMU)


def hears_the_sentence(pcm: bytes) -> bool:
    """Whether the agent's sentence is in there, in order: all but what a phone's own jitter buffer skips."""
    heard = [place for place in locate(encode(pcm, Law.PCMU)) if place.number == 1]
    ordered = all(one.position < other.position for one, other in pairwise(heard))
    return ordered and sum(place.end - place.start for place in heard) > 0.9 * len(SENTENCE)


def hears(pcm: bytes, ulaw: bytes) -> bool:
    """Whether these bytes are in there, the tables' differences apart."""
    return ulaw.translate(_ZERO) in encode(pcm, Law.PCMU).translate(_ZERO)


def keys_told(session: AgentSession) -> str:
    """The keys that the agent was told of, in order. (A phone's slow fingers may make several messages of them.)"""
    items = [event["item"] for _, event in session.received if event["type"] == "conversation.item.create"]
    told = " ".join(re.findall(r"pressed (.*?) on", " / ".join(item["content"][0]["text"] for item in items)))
    return re.sub(r"[^0-9*#A-D]", "", told)
