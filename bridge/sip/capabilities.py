"""What the other side of a call has said that it can do (RFC 3261 sections 20.5 and 20.37)."""

from __future__ import annotations

from .message import Message
from .options import option_tags


class Capabilities:
    """Methods and option tags of a peer, as its latest Allow and Supported name them."""

    __slots__ = ("allow", "supported")

    def __init__(self) -> None:
        self.allow: frozenset[str] = frozenset()
        self.supported: frozenset[str] = frozenset()

    def learn(self, message: Message) -> None:
        """Take what a message of the peer says; what it does not mention stays."""
        allow = option_tags(message, "Allow")
        if allow:
            self.allow = allow
        supported = option_tags(message, "Supported") | option_tags(message, "Require")
        if supported:
            self.supported = supported

    def allows(self, method: str) -> bool:
        """Whether the peer takes a method; a peer that never said so is not asked to."""
        return method.lower() in self.allow

    def forget(self, method: str) -> None:
        """The peer has refused a method that it said it takes."""
        self.allow -= {method.lower()}

    def supports(self, tag: str) -> bool:
        return tag in self.supported
