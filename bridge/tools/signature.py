"""The signature of a webhook's request: HMAC-SHA256 over the moment and the body."""

from __future__ import annotations

import hashlib
import hmac

HEADER = "X-Sipbridge-Signature"


def signature(secret: str, body: bytes, at: int) -> str:
    """The header's value for a body sent `at` Unix seconds: `t=<at>,v1=<hex>`, of the bytes `<at>.<body>`."""
    digest = hmac.new(secret.encode(), b"%d.%b" % (at, body), hashlib.sha256)
    return f"t={at},v1={digest.hexdigest()}"
