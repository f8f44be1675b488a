"""One binding of ours at a registrar, kept alive (RFC 3261 sections 10.2 and 22)."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Protocol

from .alarms import Alarm, Alarms
from .binding import (
    Binding,
    Servers,
    advice,
    contact_user,
    granted,
    is_refusal,
    min_expires,
    registrar_of,
    retry_after,
    said,
    service_route,
)
from .dialog import MAX_FORWARDS, new_tag
from .digest import Authenticator, Header
from .headers import Headers
from .message import Request, Response
from .uri import Uri

if TYPE_CHECKING:
    from .layer import Path

__all__ = ["MOVES", "Binding", "Registration", "RegistrationState"]

REFRESH_AFTER = (0.75, 0.9)
"""Which part of what the registrar granted may pass before we ask again."""

FAIL_OVER_S = 40.0
"""What a refresh leaves before the binding ends: a server that says nothing costs 32 s (64 * T1)."""
MIN_REFRESH_S = 5.0
"""What a refresh waits for at least, unless so little was granted that we would be forgotten meanwhile."""
LEAST_REFRESH_S = 1.0
FIRST_BACK_OFF_S, LAST_BACK_OFF_S = 2.0, 300.0
REFUSED_S = 600.0
"""How long a registrar that said no is left alone: trying faster looks like an attack."""

UNREGISTER_S = 2.0


class RegistrationState(Enum):
    """Where a registration is; REGISTERED lasts while it is refreshed, and comes anew with another server."""

    IDLE = "idle"
    REGISTERING = "registering"
    REGISTERED = "registered"
    BACKING_OFF = "backing_off"
    REFUSED = "refused"
    UNREGISTERING = "unregistering"
    GONE = "gone"


_S = RegistrationState
MOVES: dict[RegistrationState, frozenset[RegistrationState]] = {
    _S.IDLE: frozenset((_S.REGISTERING, _S.GONE)),
    _S.REGISTERING: frozenset((_S.REGISTERED, _S.BACKING_OFF, _S.REFUSED, _S.UNREGISTERING)),
    _S.REGISTERED: frozenset((_S.REGISTERED, _S.BACKING_OFF, _S.REFUSED, _S.UNREGISTERING)),
    _S.BACKING_OFF: frozenset((_S.REGISTERING, _S.UNREGISTERING, _S.GONE)),
    _S.REFUSED: frozenset((_S.REGISTERING, _S.GONE)),
    _S.UNREGISTERING: frozenset((_S.GONE,)),
    _S.GONE: frozenset(),
}


class Ground(Protocol):
    """What a registration needs of the user agent's core."""

    alarms: Alarms

    def clock(self) -> float: ...

    def via(self, path: Path, own: str | None = None) -> str: ...

    def contact(self, path: Path, user: str | None = None, *, own: str | None = None) -> str: ...

    def client_headers(self) -> list[Header]: ...

    def deliver(
        self,
        hop: Uri,
        make: Callable[[Path], Request],
        *,
        on_response: Callable[[Response], None],
        on_failure: Callable[[str], None],
        authenticator: Authenticator | None = None,
        prefer: Path | None = None,
    ) -> object: ...


class Registration:
    """Registers, refreshes, and asks the next server when one fails; `rng` gives the jitter.

    `on_change` is called with each new state and one line that says why, with the next step in it.
    """

    State = RegistrationState

    def __init__(self, core: Ground, binding: Binding, rng: Random) -> None:
        self.binding = binding
        self.on_change: Callable[[RegistrationState, str], None] = lambda state, detail: None
        self.state = RegistrationState.IDLE
        self.detail = ""
        self.expires_at: float | None = None
        """When the registrar forgets us (the core's clock); None when it never knew us."""
        self.failures = 0
        """Rounds over all servers that failed, since the last success."""
        self.last_status: int | None = None
        """Status of the last final answer; None when there was none, or the last try got none."""
        self.service_route: tuple[str, ...] = ()
        """Route values for our calls by this trunk (RFC 3608)."""
        self.peer: tuple[str, int] | None = None
        """Address and port of the server that keeps our binding; None before the first success."""
        self._core = core
        self._rng = rng
        self._authenticator = Authenticator(binding.credentials)
        self._call_id = f"{new_tag()}{new_tag()}"
        self._tag = new_tag()
        self._cseq = rng.randrange(1, 2**15)
        self._asked_s = binding.expires_s
        self._servers = Servers(binding)
        self._contact: str | None = None
        """Our Contact as the registrar knows it; None when it knows none."""
        self._sent_contact, self._sent_to = "", ("", 0)
        self._path: Path | None = None  # of the last REGISTER
        self._bound: Path | None = None  # to the server that keeps the binding
        self._too_brief = self._removing = False
        self._pending: object | None = None
        self._registered_at = 0.0
        self._alarm: Alarm | None = None
        self._done: Callable[[], None] = lambda: None

    @property
    def registered(self) -> bool:
        """Whether the registrar still knows us, even while a refresh fails."""
        return self.expires_at is not None and self._core.clock() < self.expires_at

    def start(self) -> None:
        """Register for the first time."""
        if self.state is RegistrationState.IDLE:
            self._attempt()

    def refresh(self) -> None:
        """Register again soon: our address has changed, or the connection to the registrar was lost."""
        if self.state is RegistrationState.REGISTERED and self._pending is None:
            # Some registrars hang up after each answer: that must not make a storm.
            soon = max(self._core.clock(), self._registered_at + MIN_REFRESH_S)
            due = soon if self._alarm is None else min(soon, self._alarm.when)
            self._at(due - self._core.clock(), self._attempt)

    def close(self, done: Callable[[], None] = lambda: None, wait_s: float = UNREGISTER_S) -> None:
        """Unregister; `done` is called when that is answered, at the latest in `wait_s` seconds."""
        if self.state in (RegistrationState.UNREGISTERING, RegistrationState.GONE):
            return
        self._done = done
        if self._pending is None and not self._removable:
            self._gone("nothing to unregister")
            return
        self._move(RegistrationState.UNREGISTERING, f"unregistering {self.binding.user}")
        self._at(wait_s, lambda: self._gone("the registrar did not answer in time"))
        # One REGISTER must not overtake another (section 10.2): a try under way is awaited first.
        if self._pending is None:
            self._remove()

    @property
    def _removable(self) -> bool:
        return self.registered and self.state is not RegistrationState.REFUSED

    def _attempt(self) -> None:
        """Begin a round over the servers that may be asked now."""
        if self.state is not RegistrationState.REGISTERED:
            self._move(RegistrationState.REGISTERING, f"registering {self.binding.user}")
        if self._alarm is not None:
            self._alarm.cancel()
        self._too_brief = False
        self._servers.begin(self._core.clock())
        self._ask()

    def _ask(self) -> None:
        self._deliver(self._asked_s, self._answered)

    def _remove(self) -> None:
        self._removing = True
        self._deliver(0, lambda response: self._gone(said(response)))

    def _deliver(self, expires: int, answered: Callable[[Response], None]) -> None:
        ticket = self._pending = object()

        def mine() -> bool:
            """Whether this is the first news of the request under way: what comes later is of the past."""
            if self._pending is not ticket:
                return False
            self._pending = None
            return True

        def on_response(response: Response) -> None:
            if response.status >= 200 and mine():
                self.last_status = response.status
                answered(response)

        def on_failure(reason: str) -> None:
            if mine():
                self.last_status = None
                self._failed(f"no answer ({reason})")

        self._core.deliver(
            self._servers.current,
            lambda path: self._request(path, expires),
            on_response=on_response,
            on_failure=on_failure,
            authenticator=self._authenticator,
            prefer=self._bound,
        )

    def _request(self, path: Path, expires: int) -> Request:
        binding, hop = self.binding, self._servers.current
        self._cseq += 1
        self._path, self._sent_to = path, path.peer
        contacts = [self._core.contact(path, contact_user(binding), own=binding.advertise)]
        self._sent_contact = contacts[0]
        if self._contact is not None and self._contact != contacts[0]:
            # Our address has changed: the old one must not get our calls any more.
            contacts = [f"{self._contact};expires=0", *(contacts if expires else [])]
        pairs = [
            ("Via", self._core.via(path, binding.advertise)),
            MAX_FORWARDS,
            *([("Route", f"<{hop}>")] if hop.parameter("lr") is not None else []),
            ("From", f"<{binding.user}>;tag={self._tag}"),
            ("To", f"<{binding.user}>"),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._cseq} REGISTER"),
            *(("Contact", contact) for contact in contacts),
            ("Expires", str(expires)),
            *self._core.client_headers(),
            *binding.headers,
        ]
        return Request(Headers.make(pairs), b"", "REGISTER", registrar_of(binding.user))

    def _answered(self, response: Response) -> None:
        if response.status < 300:
            self._accepted(response)
        elif self.state is RegistrationState.UNREGISTERING:
            self._settle(said(response))
        elif response.status == 423 and self._longer(response):
            self._ask()
        elif is_refusal(response.status):
            self._refused(response)
        else:
            self._servers.spare(self._core.clock() + retry_after(response))
            self._failed(said(response))

    def _accepted(self, response: Response) -> None:
        seconds = granted(response, self._sent_contact, self._asked_s)
        if seconds <= 0:
            self._failed("the registrar answered 200 but keeps no binding")
            return
        moved = self.peer != self._sent_to
        self._contact, self.peer, self._bound = self._sent_contact, self._sent_to, self._path
        self._registered_at = self._core.clock()
        self.expires_at = self._registered_at + seconds
        self.failures = 0
        self.service_route = service_route(response)
        if self.state is RegistrationState.UNREGISTERING:
            self._remove()
            return
        self._at(self._refresh_in(seconds), self._attempt)
        if moved or self.state is not RegistrationState.REGISTERED:
            self._move(RegistrationState.REGISTERED, f"{self._names()} for {seconds} s")

    def _refresh_in(self, granted_s: int) -> float:
        # Early enough for a second server when the first has died meanwhile.
        last = max(granted_s - FAIL_OVER_S, granted_s / 2)
        usual = min(granted_s * self._rng.uniform(*REFRESH_AFTER), last * self._rng.uniform(0.9, 1.0))
        return usual if usual >= MIN_REFRESH_S else max(LEAST_REFRESH_S, granted_s / 2)

    def _longer(self, response: Response) -> bool:
        """Take the registrar's minimum (section 10.2.8), once a round."""
        least = min_expires(response)
        if self._too_brief or least is None or least <= self._asked_s:
            return False
        self._too_brief = True
        self._asked_s = least
        return True

    def _refused(self, response: Response) -> None:
        self.failures += 1
        wait = max(REFUSED_S, retry_after(response))
        self._at(wait, self._attempt)
        what = f"{said(response)}; {advice(response.status)}"
        self._move(RegistrationState.REFUSED, f"{self._names()}: {what}; next try in {wait:.0f} s")

    def _failed(self, what: str) -> None:
        """The current server did not serve us: the next one, or a pause."""
        if self.state is RegistrationState.UNREGISTERING:
            self._settle(what)
            return
        if self._servers.advance():
            self._ask()
            return
        self.failures += 1
        wait = self._back_off()
        self._at(wait, self._attempt)
        self._move(RegistrationState.BACKING_OFF, f"{self._names()}: {what}; next try in {wait:.1f} s")

    def _settle(self, what: str) -> None:
        """The try that was under way when we closed has failed: an older binding may still be there."""
        if self._removing or not self.registered:
            self._gone(what)
        else:
            self._remove()

    def _back_off(self) -> float:
        """Full jitter under a doubling roof, and not before the first server that may be asked again."""
        roof = min(LAST_BACK_OFF_S, FIRST_BACK_OFF_S * 2.0 ** min(self.failures - 1, 16))
        wait = self._rng.uniform(0.0, roof)
        return max(wait, self._servers.earliest - self._core.clock())

    def _gone(self, detail: str) -> None:
        if self.state is RegistrationState.GONE:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._pending = None
        self.expires_at = None
        self._move(RegistrationState.GONE, detail)
        self._done()

    def _names(self) -> str:
        return f"{self.binding.user} at {self._servers.current}"

    def _at(self, delay: float, call: Callable[[], None]) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._core.alarms.at(self._core.clock() + delay, call)

    def _move(self, state: RegistrationState, detail: str) -> None:
        assert state in MOVES[self.state], f"{self.state} -> {state}"
        self.state, self.detail = state, detail
        self.on_change(state, detail)
