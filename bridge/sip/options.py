"""Option tags: which extensions a message asks for and knows (RFC 3261 section 19.2)."""

from __future__ import annotations

from .message import Message


def option_tags(message: Message, name: str) -> frozenset[str]:
    """The tags in a header such as Require or Supported, in lower case.

    Never raises: an option tag is a plain token, so what else stands there is merely a tag that nobody knows.
    """
    pieces = (piece.strip().lower() for line in message.lines.lines(name) for piece in line.value.split(","))
    return frozenset(piece for piece in pieces if piece)


def requires(message: Message, tag: str) -> bool:
    """Whether the message has `tag` in its Require."""
    return tag in option_tags(message, "Require")


def supports(message: Message, tag: str) -> bool:
    """Whether the sender knows `tag`: who requires an extension supports it."""
    return tag in option_tags(message, "Supported") or requires(message, tag)
