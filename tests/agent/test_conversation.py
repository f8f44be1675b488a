"""The order of items, and what a session may keep at most."""

from __future__ import annotations

import pytest

from bridge.agent import conversation
from bridge.agent.conversation import Conversation
from bridge.agent.items import Item
from bridge.agent.refusal import Refusal


def said(name: str, audio: bytes = b"") -> Item:
    return Item(name, "message", "completed", "user", words=name, audio=audio)


def test_items_know_the_one_before_them() -> None:
    one = Conversation("conv_1")
    assert one.add(said("a")) is None
    assert one.create(said("b")) == "a"
    assert one.create(said("c"), "a") == "a"
    assert [item.id for item in one] == ["a", "c", "b"]
    assert (one.previous("b"), one.previous("a"), one.previous("none"), one.last_id) == ("c", None, None, "b")


def test_the_server_forgets_its_oldest_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_ITEMS", 3)
    one = Conversation("conv_1")
    for name in "abcd":
        one.add(said(name))
    assert [item.id for item in one] == ["b", "c", "d"]
    assert one.get("a") is None
    with pytest.raises(Refusal):
        one.create(said("e"))


def test_what_is_deleted_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_TEXT_CHARS", 110)
    one = Conversation("conv_1")
    one.create(said("a" * 100))
    with pytest.raises(Refusal):
        one.create(said("b" * 100))
    one.delete("a" * 100)
    one.create(said("b" * 100))


def test_old_audio_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_AUDIO_BYTES", 25)
    one = Conversation("conv_1")
    for name in "abcd":
        one.add(said(name, b"x" * 10))
    assert [len(item.audio) for item in one] == [0, 0, 10, 10]
