"""The keys of a trunk: its advertised address."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bridge.config.trunk import Trunk


@pytest.mark.parametrize(
    ("text", "kept"), [(None, None), ("auto", "auto"), ("203.0.113.7", "203.0.113.7"), ("[2001:DB8::7]", "2001:db8::7")]
)
def test_a_trunk_may_know_us_by_an_address_of_its_own(text: str | None, kept: str | None) -> None:
    assert Trunk.model_validate({} if text is None else {"advertise": text}).advertise == kept


@pytest.mark.parametrize(
    ("text", "advice"),
    [("pbx.local", "write an IP address, or auto"), ("0.0.0.0", "peers cannot send to this address")],
)
def test_what_nobody_can_send_to_is_refused(text: str, advice: str) -> None:
    with pytest.raises(ValidationError, match=advice):
        Trunk.model_validate({"advertise": text})
