"""From what two descriptions agree on to the terms of a stream."""

from __future__ import annotations

from typing import cast

from bridge.media.codecs import CODECS
from bridge.media.srtp import Keys
from bridge.media.terms import Direction, Events, Rtcp, Terms
from bridge.sip.literals import literal
from bridge.sip.offer_answer import Negotiated
from bridge.sip.sdes import Security

_NOT_IN_OPUS_MS, _NEXT_IN_OPUS_MS = 30, 20
"""It has no such frames (RFC 6716 section 2.1.4); nobody gets longer packets than he asked for."""


def terms_of(agreed: Negotiated, signalling_host: str) -> Terms:
    """The terms; `signalling_host` is where the other side signals from."""
    host = _host(agreed.remote_host, signalling_host)
    return Terms(
        CODECS[agreed.codec],
        (host, agreed.remote_port),
        direction=cast(Direction, agreed.direction),
        payload_type=agreed.send_payload_type,
        receives={
            agreed.receive_payload_type: CODECS[agreed.codec],
            **{number: CODECS[name] for number, name in agreed.receives_as},
        },
        events=Events(*agreed.telephone_event) if agreed.telephone_event is not None else None,
        receive_events=Events(*agreed.receive_telephone_event) if agreed.receive_telephone_event is not None else None,
        keys=_keys(agreed.security),
        ptime_ms=_packet_time(agreed),
        rtcp=Rtcp((host, agreed.rtcp[1]), agreed.rtcp[2]) if agreed.rtcp is not None else None,
    )


def _packet_time(agreed: Negotiated) -> int:
    unknown = agreed.codec == "OPUS" and agreed.ptime_ms == _NOT_IN_OPUS_MS
    return _NEXT_IN_OPUS_MS if unknown else agreed.ptime_ms


def _host(host: str, signalling_host: str) -> str:
    """Where to send; a name in c= is not looked up: the signalling source is the better guess than a wait."""
    return signalling_host if literal(host) is None else host


def _keys(security: Security | None) -> Keys | None:
    return None if security is None else Keys(security.ours.suite, security.ours.key, security.theirs.key)
