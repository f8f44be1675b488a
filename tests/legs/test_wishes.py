"""What an agent wants of its caller's leg."""

import subprocess
import sys

import pytest

from bridge.legs.wishes import G711_FIRST, Wishes
from bridge.media.codecs import why_not

LOADED = """
import sys
from bridge.legs.wishes import Wishes
assert "numpy" not in sys.modules and "G722" not in sys.modules
assert Wishes().why_not() == ""
assert "numpy" in sys.modules and "G722" in sys.modules
"""


@pytest.mark.skipif(bool(why_not("G722")), reason=why_not("G722"))
def test_asking_at_the_start_loads_what_the_first_call_would_wait_for() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_only_a_codec_that_was_asked_for_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.legs.wishes.why_not", lambda name: "install it" if name == "OPUS" else "")
    assert Wishes(G711_FIRST).why_not() == ""
    assert Wishes((("PCMU",), ("OPUS",))).why_not() == "install it"
    assert Wishes((("PCMU",), ("G722",))).why_not() == ""
