"""SIPp for each test, over each transport."""

from __future__ import annotations

from pathlib import Path

import pytest

from .scenario import Sipp


@pytest.fixture(params=["udp", "tcp"])
def phone(request: pytest.FixtureRequest, sipp: str, tmp_path: Path) -> Sipp:
    """SIPp over one transport after the other."""
    return Sipp(sipp, tmp_path, request.param)
