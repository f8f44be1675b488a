"""What a webhook is sent: the same body at every try, signed, and nothing of the caller unless it is asked for."""

from __future__ import annotations

import orjson

from bridge.config.tools import Webhook
from bridge.records import Origin
from bridge.tools.request import DELIVERY, Request, about
from bridge.tools.signature import HEADER, signature

KNOWN = Origin("pbx", "", 1, "+4930", "Ada", "600", "", {"X-Customer": "77"}).variables()


def webhook(**keys: object) -> Webhook:
    return Webhook.model_validate({"url": "https://app.example/"} | keys)


def test_of_the_caller_only_what_is_asked_for_is_told() -> None:
    assert about("c@host", "front", KNOWN, ()) == {"id": "c@host", "agent": "front"}
    asked = about("c", "front", KNOWN, ("caller", "diverted_from", "trunk", "headers"))
    assert asked == {"id": "c", "agent": "front", "caller": "+4930", "trunk": "pbx", "headers": {"X-Customer": "77"}}


def test_each_use_has_an_id_of_its_own_and_keeps_it() -> None:
    one, two = (Request.of("book", "call_1", {"n": 1}, {"id": "c"}) for _ in range(2))
    assert one.body == two.body and one.delivery != two.delivery
    assert one.headers(webhook(), 1)[DELIVERY] == one.headers(webhook(), 2)[DELIVERY] == one.delivery
    assert orjson.loads(one.body) == {"tool": "book", "call_id": "call_1", "arguments": {"n": 1}, "call": {"id": "c"}}


def test_it_is_signed_where_there_is_a_secret() -> None:
    request = Request.of("book", "call_1", {}, {})
    assert HEADER not in request.headers(webhook(), 1)
    signed = request.headers(webhook(secret="sixteen characters"), 1700)
    assert signed[HEADER] == signature("sixteen characters", request.body, 1700)


def test_headers_of_the_configuration_go_with_it() -> None:
    headers = Request.of("book", "c", {}, {}).headers(webhook(headers={"Authorization": "Bearer x"}), 1)
    assert headers["Authorization"] == "Bearer x" and headers["Content-Type"] == "application/json"
