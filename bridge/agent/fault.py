"""What goes wrong with a server of the pipeline, by the codes of the real service."""

from __future__ import annotations

CODES = {401: "invalid_api_key", 403: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
"""Of an HTTP status; other 4xx are `invalid_request_error`, the rest is `server_error`."""


class Fault(Exception):
    """A part of the pipeline did not do its work."""

    def __init__(self, code: str, message: str, *, may_retry: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.may_retry = may_retry
        self.retry_after_s = retry_after_s
        """How long the server wants to be left alone; None: it did not say."""


def of_status(status: int, retry_after: str | None, quota: bool) -> Fault:
    """The fault of an HTTP answer. `quota`: the account is empty, so that asking again is of no use."""
    if quota:
        return Fault("insufficient_quota", f"The server answered {status}: no credit left.")
    code = CODES.get(status, "invalid_request_error" if 400 <= status < 500 else "server_error")
    may_retry = status == 429 or status >= 500
    return Fault(code, f"The server answered {status}.", may_retry=may_retry, retry_after_s=_seconds(retry_after))


def _seconds(text: str | None) -> float | None:
    """A number of seconds; None for a date, and for whatever else it is."""
    try:
        given = float(text or "")
    except ValueError:
        return None
    return given if given >= 0 else None


class Patience:
    """How often and when one request is tried again. A caller is waiting: never for long."""

    MAX_WAIT_S = 5.0
    """Of all pauses that servers ask for with 429."""
    _LIMITED_S = 1.0
    _BROKEN_S = 0.1

    def __init__(self) -> None:
        self._left_s = self.MAX_WAIT_S
        self._limited = 2
        self._broken = 1

    def pause(self, fault: Fault) -> float | None:
        """Seconds until the next try; None: give up."""
        if not fault.may_retry:
            return None
        if fault.code != "rate_limit_exceeded":
            self._broken -= 1
            return self._BROKEN_S if self._broken >= 0 else None
        wanted = self._LIMITED_S if fault.retry_after_s is None else fault.retry_after_s
        self._limited -= 1
        self._left_s -= wanted
        return wanted if self._limited >= 0 and self._left_s >= 0 else None
