"""The server events that the agent sends (GA names), without their event_id."""

from typing import Any

from bridge.agent.conversation import Conversation
from bridge.agent.items import Item
from bridge.agent.refusal import Refusal

Event = dict[str, Any]

# Events made many times a response; the service pads their length with `obfuscation`.
PADDED = {
    "response.output_audio_transcript.delta",
    "response.output_text.delta",
    "response.function_call_arguments.delta",
    "conversation.item.input_audio_transcription.delta",
}


def error(refusal: Refusal, event_id: str | None) -> Event:
    return {
        "type": "error",
        "error": {
            "type": refusal.kind,
            "code": refusal.code,
            "message": refusal.message,
            "param": refusal.param,
            "event_id": event_id,
        },
    }


def session(kind: str, wire: Event) -> Event:
    return {"type": f"session.{kind}", "session": wire}


def item(kind: str, item: Item, previous_item_id: str | None) -> Event:
    """`conversation.item.added` and `.done`."""
    return {
        "type": f"conversation.item.{kind}",
        "previous_item_id": previous_item_id,
        "item": item.wire(),
    }


def item_retrieved(item: Item) -> Event:
    return {"type": "conversation.item.retrieved", "item": item.wire_with_audio()}


def item_deleted(item_id: str) -> Event:
    return {"type": "conversation.item.deleted", "item_id": item_id}


def item_truncated(item_id: str, audio_end_ms: int) -> Event:
    return {
        "type": "conversation.item.truncated",
        "item_id": item_id,
        "content_index": 0,
        "audio_end_ms": audio_end_ms,
    }


def speech_started(item_id: str, audio_start_ms: int) -> Event:
    return {
        "type": "input_audio_buffer.speech_started",
        "audio_start_ms": audio_start_ms,
        "item_id": item_id,
    }


def speech_stopped(item_id: str, audio_end_ms: int) -> Event:
    return {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": audio_end_ms, "item_id": item_id}


def timeout_triggered(item_id: str, audio_start_ms: int, audio_end_ms: int) -> Event:
    return {
        "type": "input_audio_buffer.timeout_triggered",
        "audio_start_ms": audio_start_ms,
        "audio_end_ms": audio_end_ms,
        "item_id": item_id,
    }


def committed(item_id: str, previous_item_id: str | None) -> Event:
    return {
        "type": "input_audio_buffer.committed",
        "previous_item_id": previous_item_id,
        "item_id": item_id,
    }


def cleared() -> Event:
    return {"type": "input_audio_buffer.cleared"}


def transcription_delta(item_id: str, delta: str) -> Event:
    return {
        "type": "conversation.item.input_audio_transcription.delta",
        "item_id": item_id,
        "content_index": 0,
        "delta": delta,
    }


def transcription_completed(item_id: str, transcript: str, usage: Event) -> Event:
    return {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": item_id,
        "content_index": 0,
        "transcript": transcript,
        "usage": usage,
    }


def transcription_failed(item_id: str, code: str = "audio_unintelligible") -> Event:
    return {
        "type": "conversation.item.input_audio_transcription.failed",
        "item_id": item_id,
        "content_index": 0,
        "error": {
            "type": "server_error",
            "code": code,
            "message": "The words of the caller could not be made out.",
            "param": None,
        },
    }


def transcription_usage(model: str, audio_ms: int, transcript: str) -> Event:
    """Whisper models count seconds, the others tokens (100 ms of audio are one)."""
    if "whisper" in model:
        return {"type": "duration", "seconds": max(1, -(-audio_ms // 1000))}
    audio, words = max(1, audio_ms // 100), max(1, len(transcript) // 4)
    return {
        "type": "tokens",
        "total_tokens": audio + words,
        "input_tokens": audio,
        "output_tokens": words,
        "input_token_details": {"text_tokens": 0, "audio_tokens": audio},
    }


def rate_limits(remaining: int) -> Event:
    limits = {"name": "tokens", "limit": 40000, "remaining": max(0, remaining), "reset_seconds": 0.3}
    return {"type": "rate_limits.updated", "rate_limits": [limits]}


def response_usage(conversation: Conversation, instructions: str, output: list[Item]) -> Event:
    """Plausible token counts: the whole context counts as input each turn; audio is 1 token per 50 ms out."""
    mine = {each.id for each in output}
    text_in = len(instructions) // 4
    audio_in = 0
    for each in conversation:
        if each.id not in mine:
            text_in += len(each.words or "") // 4 + len(str(each.fields)) // 4 * bool(each.fields)
            audio_in += len(each.audio) // each.bytes_per_ms // 100 if each.role == "user" else each.audio_ms // 50
    text_out = sum(len(each.words or "") // 4 + len(str(each.fields)) // 8 for each in output)
    audio_out = sum(each.sent_bytes // each.bytes_per_ms // 50 for each in output)
    cached = min(text_in, 64) if len(conversation) > 3 else 0
    return {
        "total_tokens": text_in + audio_in + text_out + audio_out,
        "input_tokens": text_in + audio_in,
        "output_tokens": text_out + audio_out,
        "input_token_details": {
            "text_tokens": text_in,
            "audio_tokens": audio_in,
            "image_tokens": 0,
            "cached_tokens": cached,
            "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
    }
