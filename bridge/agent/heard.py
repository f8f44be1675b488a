"""Which words of an answer the caller has heard: each byte of its sound belongs to a known sentence."""

from __future__ import annotations

from bridge.agent.items import Item

# Speech of usual speed, for a sentence whose length nobody knows because it was cut off.
_MS_PER_CHAR = 65


def heard_text(item: Item) -> str:
    """The words of an assistant item up to its truncation, or up to where its sound was cut off.

    A sentence that was heard in part counts by its whole words: better that the model repeats one than that it
    believes in one nobody heard.
    """
    text = item.words or ""
    if not item.has_output_audio or (item.truncated_ms is None and item.said_whole):
        return text
    until = item.sent_bytes
    if item.truncated_ms is not None and item.truncated_ms < item.sent_bytes // item.bytes_per_ms:
        until = item.truncated_ms * item.bytes_per_ms
    marks = item.marks or [(0, text)]
    ends = [begin for begin, _ in marks[1:]] + [_end(item, marks)]
    heard = [_part(words, begin, end, until) for (begin, words), end in zip(marks, ends, strict=True)]
    return "".join(heard).rstrip()


def _end(item: Item, marks: list[tuple[int, str]]) -> int:
    """Where the last sentence ends or would have ended, in bytes."""
    begin, words = marks[-1]
    if item.said_whole or not item.marks:
        return item.sent_bytes
    letters = sum(len(each) for _, each in marks[:-1])
    per_letter = begin / letters if letters and begin else _MS_PER_CHAR * item.bytes_per_ms
    return max(item.sent_bytes, begin + int(len(words) * per_letter))


def _part(words: str, begin: int, end: int, until: int) -> str:
    if until >= end:
        return words
    if until <= begin:
        return ""
    length = len(words) * (until - begin) // (end - begin)
    # Back to the last blank: the word there was not heard to its end.
    while length > 0 and not words[length].isspace():
        length -= 1
    return words[:length]
