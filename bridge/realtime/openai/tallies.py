"""What a response or a transcription has used, as the service counts it (reference section 15)."""

from __future__ import annotations

from bridge.realtime.events import Usage
from bridge.realtime.faults import amount, inner
from bridge.realtime.options import Json

_KINDS = ("text", "audio", "image")


def of_response(event: Json, model: str) -> Usage | None:
    """From `response.done`: inside the response, or beside it (xAI). None: nothing is told."""
    counted = inner(inner(event, "response"), "usage") or inner(event, "usage")
    tokens = _incoming(counted) | _outgoing(counted)
    return _usage(model, tokens, amount(counted, "billable_audio_seconds"))


def of_transcription(event: Json, model: str) -> Usage | None:
    """From `…input_audio_transcription.completed`: tokens, or seconds. None: nothing is told."""
    counted = inner(event, "usage")
    if counted.get("type") == "duration":
        return _usage(model, {}, amount(counted, "seconds"))
    return _usage(model, _incoming(counted) | _outgoing(counted), 0.0)


def _usage(model: str, tokens: dict[str, int], seconds: float) -> Usage | None:
    told = {kind: count for kind, count in tokens.items() if count}
    return Usage(model, told, float(seconds)) if told or seconds else None


def _incoming(counted: Json) -> dict[str, int]:
    """Input tokens by kind, the cached ones apart. What no detail names is text."""
    details = inner(counted, "input_token_details")
    cached = inner(details, "cached_tokens_details")
    whole = {kind: int(amount(details, f"{kind}_tokens")) for kind in _KINDS}
    whole["text"] += max(0, int(amount(counted, "input_tokens")) - sum(whole.values()))
    from_cache = {kind: min(whole[kind], int(amount(cached, f"{kind}_tokens"))) for kind in _KINDS}
    left = int(amount(details, "cached_tokens")) - sum(from_cache.values())
    for kind in _KINDS:  # cached tokens of which no kind is told
        more = min(max(0, left), whole[kind] - from_cache[kind])
        from_cache[kind] += more
        left -= more
    tokens = {f"{kind}_in": whole[kind] - from_cache[kind] for kind in _KINDS}
    return tokens | {f"{kind}_cached": from_cache[kind] for kind in _KINDS}


def _outgoing(counted: Json) -> dict[str, int]:
    """Output tokens by kind; what no detail names is text."""
    details = inner(counted, "output_token_details")
    audio = int(amount(details, "audio_tokens"))
    written = int(amount(details, "text_tokens"))
    unnamed = max(0, int(amount(counted, "output_tokens")) - audio - written)
    return {"text_out": written + unnamed, "audio_out": audio}
