"""Calls that are sent elsewhere (RFC 3261 section 8.1.3.4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sip.message import Request
from bridge.sip.redirect import MAX_TARGETS, Redirects
from bridge.sip.uri import Uri

from .stack import OFFER, Stack, reply


class Sent:
    """A call of ours that follows redirections, and where it goes."""

    def __init__(self, allowed: Callable[[Uri], bool] = lambda uri: True, target: str = "sip:bob@192.0.2.1") -> None:
        self.stack = Stack()
        self.failed: list[tuple[int, str]] = []
        self.call = self.stack.call(target, redirects=allowed)
        self.call.on_failed = lambda failure: self.failed.append((failure.status, failure.word))
        self.stack.advance(0.0)
        self.asked = self.stack.request("INVITE")

    def answered(self, status: int, *contacts: str) -> str:
        """The target tried next; "" when it is over."""
        answer = self.asked.response(status, tag="b", headers=[("Contact", contact) for contact in contacts])
        self.stack.receive(bytes(answer))
        return self.next()

    def next(self) -> str:
        self.stack.advance(0.0)
        invites = [item for item in self.stack.take() if isinstance(item, Request) and item.method == "INVITE"]
        if not invites:
            return ""
        (self.asked,) = invites
        return self.asked.uri.text


def test_a_moved_phone_is_called_where_it_is() -> None:
    sent = Sent()
    first = sent.asked
    assert sent.answered(302, "<sip:bob@192.0.2.66:5070;transport=udp>") == "sip:bob@192.0.2.66:5070;transport=udp"
    second = sent.asked
    assert (second.from_, second.to, second.call_id) == (first.from_, first.to, first.call_id)
    assert (second.cseq.number, second.body) == (first.cseq.number + 1, first.body)
    assert second.via.branch != first.via.branch
    sent.stack.receive(reply(second, 200, body=OFFER))
    assert sent.stack.statuses() == ["ACK"]


def test_targets_are_tried_in_the_order_of_their_q_and_the_last_failure_counts() -> None:
    sent = Sent()
    listed = (
        "<sip:low@192.0.2.1>;q=0.2",
        "<sip:high@192.0.2.1>;q=0.9, <sip:full@192.0.2.1>",
        "<sip:bad@192.0.2.1>;q=x",
    )
    assert sent.answered(300, *listed) == "sip:full@192.0.2.1"
    assert sent.answered(486) == "sip:high@192.0.2.1"
    assert sent.answered(404) == "sip:low@192.0.2.1"
    assert sent.answered(480) == "sip:bad@192.0.2.1"
    assert sent.answered(488) == ""
    assert sent.failed == [(488, "no_common_codec")]


def test_a_target_that_cannot_be_reached_is_not_the_last() -> None:
    sent = Sent()
    listed = "<sip:a@nowhere.example>;q=0.9, <sip:b@192.0.2.7>;q=0.5, <sip:c@192.0.2.8>;q=0.3"
    assert sent.answered(302, listed) == "sip:b@192.0.2.7"
    sent.stack.advance(31.9)
    sent.stack.take()
    sent.stack.advance(0.1)
    assert sent.next() == "sip:c@192.0.2.8"
    assert sent.answered(486) == ""
    assert sent.failed == [(486, "busy")]


@pytest.mark.parametrize("status", [600, 603, 606])
def test_a_global_refusal_speaks_for_all(status: int) -> None:
    sent = Sent()
    sent.answered(302, "<sip:a@192.0.2.7>", "<sip:b@192.0.2.8>")
    assert sent.answered(status) == ""
    assert sent.failed[0][0] == status


def test_redirections_in_a_circle_end() -> None:
    sent = Sent()
    assert sent.answered(302, "<sip:a@192.0.2.7>") == "sip:a@192.0.2.7"
    assert sent.answered(302, "<sip:bob@192.0.2.1>", "<sip:a@192.0.2.7>") == ""
    assert sent.failed == [(302, "unreachable")]


def test_redirections_without_end_are_followed_a_few_times() -> None:
    sent = Sent()
    for number in range(MAX_TARGETS):
        assert sent.answered(302, f"<sip:{number}@192.0.2.7>") == f"sip:{number}@192.0.2.7"
    assert sent.answered(302, "<sip:more@192.0.2.7>") == ""
    assert sent.failed == [(302, "unreachable")]
    many = Sent()
    many.answered(302, *[f"<sip:{number}@192.0.2.7>" for number in range(50)])
    tried = 1
    while many.answered(486):
        tried += 1
    assert tried == MAX_TARGETS


@pytest.mark.parametrize(
    "contact", ["<tel:+12015550123>", "<sip:x@192.0.2.7?Subject=y>", "nonsense", "*", '"open <sip:x@h>', "<mailto:x@h>"]
)
def test_what_is_no_target(contact: str) -> None:
    sent = Sent()
    assert sent.answered(302, contact) == ""
    assert sent.failed == [(302, "unreachable")]


def test_only_allowed_targets_are_called_and_without_a_word_none() -> None:
    sent = Sent(lambda uri: uri.host == "192.0.2.7")
    assert sent.answered(302, "<sip:premium@192.0.2.9>;q=1, <sip:a@192.0.2.7>;q=0.1") == "sip:a@192.0.2.7"
    stack = Stack()
    stack.call()
    stack.advance(0.0)
    stack.receive(reply(stack.request("INVITE"), 302))
    assert stack.statuses() == ["ACK"]


def test_a_secure_call_is_not_sent_where_it_is_not() -> None:
    sent = Sent(target="sips:bob@192.0.2.1")
    assert sent.answered(302, "<sip:bob@192.0.2.7>, <sips:bob@192.0.2.8>") == "sips:bob@192.0.2.8"


def test_early_dialogs_of_the_last_target_are_gone() -> None:
    sent = Sent()
    sent.stack.receive(reply(sent.asked, 180, tag="old"))
    sent.answered(302, "<sip:a@192.0.2.7>")
    sent.stack.receive(reply(sent.asked, 180, tag="new"))
    assert sent.call._forks.find("old") is None
    assert sent.call._forks.find("new") is not None


@given(st.lists(st.text(max_size=40), max_size=5), st.integers(300, 399))
def test_any_contact_is_a_target_or_none(contacts: list[str], status: int) -> None:
    sent = Sent()
    redirects = Redirects(Uri.parse("sip:a@h"), lambda uri: True)
    try:
        answer = sent.asked.response(status, headers=[("Contact", text) for text in contacts])
    except ValueError:
        return
    target = redirects.after(answer)
    assert target is None or target.host
