"""A call's own context: sockets and timers are nobody's, but the log lines of what they bring need the Call-ID."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class OwnContext:
    """The context variables as they were at the last `renew`, for callbacks that come from elsewhere."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """From now on it is the context of whoever calls this."""
        self._context = contextvars.copy_context()

    def of(self, work: Callable[_P, _T]) -> Callable[_P, _T]:
        """`work`, to be run in this context whoever calls it; so are the tasks that it begins."""
        # A copy each time: a context cannot be entered twice at once, and one callback may bring another.
        return lambda *args, **names: self._context.copy().run(work, *args, **names)
