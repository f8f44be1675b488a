"""The signature, checked as the documentation tells the receiver to."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from bridge.tools.signature import HEADER, signature

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "tools.md"


def test_the_signature_is_that_of_a_known_case() -> None:
    """HMAC-SHA256 written out by its definition (RFC 2104), with the key filled up to the block of 64 bytes."""
    key = b"a secret of some length".ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + b'1800000000.{"a":1}').digest()
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()
    assert signature("a secret of some length", b'{"a":1}', 1800000000) == f"t=1800000000,v1={outer}"


def test_the_documented_recipe_takes_it_and_nothing_else() -> None:
    (recipe,) = re.findall(r"^```python\n(import hashlib.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    exec(recipe, names)
    is_ours = names["is_ours"]
    assert callable(is_ours)
    body, secret, now = b'{"tool":"x"}', "sixteen or more characters", 1800000000
    header = signature(secret, body, now)
    assert is_ours(secret, header, body, now + 10)
    assert not is_ours(secret, header, body + b" ", now)
    assert not is_ours("another secret entirely", header, body, now)
    assert not is_ours(secret, header, body, now + 301), "an old request that somebody repeats"
    assert not is_ours(secret, header.replace(str(now), str(now + 300)), body, now + 300)
    for strange in ("", "t=,v1=", "v1=abc", f"t={now}", "t=x,v1=y", "\udcff"):
        assert not is_ours(secret, strange, body, now)
    assert HEADER in DOCUMENT.read_text()
    assert hmac.compare_digest(header, signature(secret, body, now))
