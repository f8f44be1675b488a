"""A registration of ours on a ground without a network: requests in a list, time by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from bridge.sip.alarms import Alarms
from bridge.sip.binding import Binding
from bridge.sip.digest import Authenticator, Credentials, Header
from bridge.sip.headers import Headers
from bridge.sip.layer import Path
from bridge.sip.message import Request, Response
from bridge.sip.registration import Registration, RegistrationState
from bridge.sip.uri import Uri

from .stack import Wire

CREDENTIALS = (Credentials("600", "secret"),)


class Delivery:
    """One request that the registration gave away; challenges are answered as the real delivery does."""

    def __init__(
        self,
        wire: Wire,
        hop: Uri,
        make: Callable[[Path], Request],
        on_response: Callable[[Response], None],
        on_failure: Callable[[str], None],
        authenticator: Authenticator,
    ) -> None:
        self.hop, self.on_failure = hop, on_failure
        self._wire, self._make, self._on_response = wire, make, on_response
        self._authenticator = authenticator
        self.tries = 0
        self._send()

    def _send(self) -> None:
        self.tries += 1
        path = Path(self._wire, (self.hop.host, 5060))
        proof = Headers.make(self._authenticator.authorize("REGISTER", "sip:example.org"))
        request = self._make(path)
        self.request = replace(request, lines=Headers((*request.lines, *proof)))

    def answer(self, status: int, *headers: Header, contact: bool = True) -> None:
        listed = [("Contact", text) for text in self.request.headers("Contact")] if contact else []
        response = self.request.response(status, tag="r", headers=[*listed, *headers])
        if status in (401, 407) and self._authenticator.challenged(response, self.request):
            self._send()
        else:
            self._on_response(response)


class Ground:
    """What a registration stands on, without a network."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.alarms = Alarms()
        self.wire = Wire()
        self.address = "192.0.2.10:5060"
        self.deliveries: list[Delivery] = []
        self.preferred: list[tuple[str, int] | None] = []
        """For each, the server that was to be asked first."""

    def clock(self) -> float:
        return self.now

    def via(self, path: Path, own: str | None = None) -> str:
        return f"SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK{len(self.deliveries)}"

    def contact(self, path: Path, user: str | None = None, *, own: str | None = None) -> str:
        return f"<sip:{user}@{self.address}>"

    def client_headers(self) -> list[Header]:
        return [("User-Agent", "sipbridge")]

    def deliver(
        self,
        hop: Uri,
        make: Callable[[Path], Request],
        *,
        on_response: Callable[[Response], None],
        on_failure: Callable[[str], None],
        authenticator: Authenticator | None = None,
        prefer: Path | None = None,
    ) -> object:
        self.preferred.append(prefer.peer if prefer is not None else None)
        assert authenticator is not None
        delivery = Delivery(self.wire, hop, make, on_response, on_failure, authenticator)
        self.deliveries.append(delivery)
        return delivery


class Trunk:
    """A registration and everything it told."""

    def __init__(self, *servers: str, seed: int = 1, user: str = "sip:600@example.org", **options: object) -> None:
        self.ground = Ground()
        binding = Binding(
            tuple(Uri.parse(server) for server in servers or ("sip:pbx.example",)),
            Uri.parse(user),
            CREDENTIALS,
            **options,  # type: ignore[arg-type]
        )
        self.registration = Registration(self.ground, binding, Random(seed))
        self.told: list[str] = []
        self.details: list[str] = []
        self.registration.on_change = self._changed
        self.registration.start()

    def _changed(self, state: RegistrationState, detail: str) -> None:
        self.told.append(state.value)
        self.details.append(detail)

    @property
    def last(self) -> Delivery:
        return self.ground.deliveries[-1]

    @property
    def asked(self) -> int:
        """How many requests were given away."""
        return len(self.ground.deliveries)

    def answer(self, status: int, *headers: Header, contact: bool = True) -> None:
        self.last.answer(status, *headers, contact=contact)

    def next_in(self) -> float:
        """Seconds until the registration wakes."""
        when = self.ground.alarms.next_deadline
        assert when is not None
        return when - self.ground.now

    def wake(self) -> float:
        """Let time pass to the next alarm; how long that was."""
        seconds = self.next_in()
        self.advance(seconds)
        return seconds

    def advance(self, seconds: float) -> None:
        self.ground.now += seconds
        self.ground.alarms.run(self.ground.now)

    @classmethod
    def registered(cls, *servers: str, seed: int = 1, **options: object) -> Trunk:
        trunk = cls(*servers, seed=seed, **options)  # type: ignore[arg-type]
        trunk.answer(200)
        assert trunk.registration.state is RegistrationState.REGISTERED
        return trunk
