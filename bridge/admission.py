"""Who may call, and how much the service takes on: the gate in front of everything that costs something.

In this order: scanners, the source's network, a password; then for calls: draining, money, calls at a time, what the
machine can do, calls per second.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable

from bridge.config import Config
from bridge.peers import Peers, source_of
from bridge.pressure import Pressure
from bridge.rates import Bucket, SourceBuckets
from bridge.records import Refusal
from bridge.sip.digest import Authority
from bridge.sip.errors import SipError
from bridge.sip.gate import Admitted, Silence, Verdict
from bridge.sip.message import Request
from bridge.spending import Spending

REQUESTS_PER_S, REQUEST_BURST = 10.0, 40.0
"""What one stranger's address may send: REGISTER, tries to authenticate."""
PEER_REQUESTS_PER_S, PEER_REQUEST_BURST = 200.0, 2000.0
"""What one address of a peer may send besides calls: OPTIONS, the BYEs of calls that we have lost by a restart."""
_SCANNERS = re.compile(
    r"\s*(?:gulp|smap|sipv|iwar|sivus|nmap)\b"
    r"|.*(?:friendly-(?:scanner|request)|sip-?vicious|sipcli|sip-?scan|vax(?:sip|ip)useragent|pplsip|sundayddr"
    r"|siparmyknife|sipptk|\bmasscan\b|\bzmap\b)",
    re.IGNORECASE,
)
"""How tools that look for open telephone systems name themselves in User-Agent; short names only at its start."""
_SCANNERS_FROM = re.compile(r"sipvicious|sundayddr|sip:nm@nm(?![\w.-])", re.IGNORECASE)
"""The same in From, where people's names stand too."""
_OF_SIP = {
    refusal.word: refusal
    for refusal in (Refusal.WRONG_CREDENTIALS, Refusal.DIGEST_URI, Refusal.WRONG_USER, Refusal.TOO_MANY_CONTACTS)
}
"""What digest and registrar refuse, by the reason they give."""
OnRefused = Callable[[Refusal, Request, tuple[str, int]], None]


class Admission:
    """The gate (see `sip.gate`), and the book of calls it needs: tell it `entered` and `left`.

    `on_refused` hears of every refusal, silent ones too, for the metric and the log line. `clock` gives seconds, the
    same as the rounds that `pressure` hears of; without it no call is refused for what the machine can do.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_refused: OnRefused = lambda refusal, request, source: None,
        spending: Spending | None = None,
        pressure: Pressure | None = None,
    ) -> None:
        self.peers = Peers(config)
        self.draining = False
        self.on_refused = on_refused
        self.authority = _authority(config, clock)
        """Checks passwords; None when nobody has one. The registrar must use the same, or phones are asked twice."""
        self._owners = {name: trunk for trunk, name, _ in config.callers()}
        self._registers = bool(config.registrar.users)
        self._clock = clock
        self._spending = spending or Spending(config.limits.spend, clock)
        self._pressure = pressure
        limits = self._limits = config.limits
        self._trunks = config.trunks
        self._calls = 0
        self._of_trunk: Counter[str] = Counter()
        self._of_source: Counter[str] = Counter()
        self._rate = Bucket(limits.calls_per_second)
        self._trunk_rates = {
            name: Bucket(trunk.calls_per_second) for name, trunk in config.trunks.items() if trunk.calls_per_second
        }
        self._calls_of_source = limits.per_source.calls or limits.calls
        self._source_rates = SourceBuckets(limits.per_source.calls_per_second or limits.calls_per_second)
        self._requests = SourceBuckets(REQUESTS_PER_S, REQUEST_BURST)
        self._peers_requests = SourceBuckets(PEER_REQUESTS_PER_S, PEER_REQUEST_BURST)

    # The book

    @property
    def calls(self) -> int:
        """Calls going on."""
        return self._calls

    def entered(self, trunk: str, host: str) -> None:
        """A call has begun."""
        self._calls += 1
        if self._pressure is not None:
            self._pressure.let_in()
        self._of_trunk[trunk] += 1
        self._of_source[source_of(host)] += 1

    def left(self, trunk: str, host: str) -> None:
        """A call that had entered is over."""
        self._calls -= 1
        for counter, key in ((self._of_trunk, trunk), (self._of_source, source_of(host))):
            counter[key] -= 1
            if counter[key] <= 0:
                del counter[key]

    def closed(self) -> str:
        """Empty while new calls are taken, else the word for why not."""
        if self.draining:
            return Refusal.DRAINING.word
        if self._spending.hour_is_spent:
            return Refusal.SPEND_HOUR.word
        if self._calls >= self._limits.calls:
            return Refusal.FULL.word
        return Refusal.OVERLOADED.word if self.overloaded else ""

    @property
    def overloaded(self) -> bool:
        """Whether one more call would be too much for the machine."""
        return self._pressure is not None and self._pressure.refuses(self._calls, self._clock())

    # The gate

    def judge(self, request: Request, source: tuple[str, int], transport: str) -> Verdict:
        """See `sip.gate.Gate`."""
        verdict = self._judge(request, source[0], self._clock())
        if isinstance(verdict, Refusal):
            self.on_refused(verdict, request, source)
            return self._answer(verdict)
        return self.refused(request, source, verdict) if isinstance(verdict, SipError) else verdict

    def refused(self, request: Request, source: tuple[str, int], error: SipError) -> SipError:
        """See `sip.gate.Gate`: a refusal with a word of ours is told, and gets its Warning; a challenge has none."""
        refusal = _OF_SIP.get(error.reason)
        if refusal is None:
            return error
        self.on_refused(refusal, request, source)
        headers = (*error.headers, *refusal.headers)
        return SipError(error.status, error.phrase, reason=error.reason, headers=headers)

    def answers(self, host: str) -> bool:
        """Malformed messages of peers are answered, so that they can be mended; strangers learn nothing."""
        return self.peers.trunk_of(host) is not None

    def _answer(self, refusal: Refusal) -> SipError | Silence:
        if not refusal.status:
            return Silence(refusal.word)
        spent = refusal is Refusal.SPEND_HOUR
        headers = refusal.headers_after(self._spending.retry_after_s()) if spent else refusal.headers
        return SipError(refusal.status, reason=refusal.word, headers=headers)

    def _judge(self, request: Request, host: str, now: float) -> Admitted | SipError | Refusal:
        if is_scanner(request):
            return Refusal.SCANNER
        trunk = self.peers.trunk_of(host)
        if trunk is not None and request.method == "INVITE":
            return self._take(Admitted(trunk, trusted=True), host, now)
        challenges = self._challenges(request)
        if trunk is None and not challenges:
            return Refusal.STRANGER
        requests = self._requests if trunk is None else self._peers_requests
        if not requests.take(source_of(host), now):
            return Refusal.TOO_MANY_REQUESTS
        if challenges:
            return self._with_password(request, host, now)
        return Admitted(trunk or "", trusted=trunk is not None)

    def _challenges(self, request: Request) -> bool:
        """Whether a password is asked for: of everybody who registers, and of strangers who call."""
        if request.method == "REGISTER":
            return self._registers
        return request.method == "INVITE" and self.authority is not None

    def _with_password(self, request: Request, host: str, now: float) -> Admitted | SipError | Refusal:
        assert self.authority is not None  # `_challenges` has looked
        user = self.authority.check(request, host)
        if isinstance(user, SipError):
            return Refusal.TOO_MANY_AUTH_FAILURES if user.reason == Refusal.TOO_MANY_AUTH_FAILURES.word else user
        admitted = Admitted(self._owners[user], user)
        return self._take(admitted, host, now) if request.method == "INVITE" else admitted

    # Limits

    def _take(self, admitted: Admitted, host: str, now: float) -> Admitted | Refusal:
        """The room and the tokens one call needs; a refused call takes no token of others."""
        source, trunk = source_of(host), admitted.trunk
        refusal = self._full(admitted, source) or self._too_fast(admitted, source, now)
        if refusal is not None:
            return refusal
        if not self._has_own_rate(admitted):
            self._source_rates.take(source, now)
        if trunk in self._trunk_rates:
            self._trunk_rates[trunk].take(now)
        self._rate.take(now)
        return admitted

    def _full(self, admitted: Admitted, source: str) -> Refusal | None:
        trunk = self._trunks.get(admitted.trunk)
        of_trunk = trunk.calls if trunk else None
        if self.draining:
            return Refusal.DRAINING
        if self._spending.hour_is_spent:
            return Refusal.SPEND_HOUR
        if self._calls >= self._limits.calls:
            return Refusal.FULL
        if self.overloaded:
            return Refusal.OVERLOADED
        if of_trunk is not None and self._of_trunk[admitted.trunk] >= of_trunk:
            return Refusal.FULL_TRUNK
        counts = not (admitted.trusted and of_trunk is not None)
        if counts and self._of_source[source] >= self._calls_of_source:
            return Refusal.FULL_SOURCE
        return None

    def _too_fast(self, admitted: Admitted, source: str, now: float) -> Refusal | None:
        of_trunk = self._trunk_rates.get(admitted.trunk)
        if not self._rate.ready(now):
            return Refusal.TOO_FAST
        if of_trunk is not None and not of_trunk.ready(now):
            return Refusal.TOO_FAST_TRUNK
        if not self._has_own_rate(admitted) and not self._source_rates.ready(source, now):
            return Refusal.TOO_FAST_SOURCE
        return None

    def _has_own_rate(self, admitted: Admitted) -> bool:
        """Whether the trunk's own limit takes the place of the source's: all its calls may come from one PBX."""
        return admitted.trusted and admitted.trunk in self._trunk_rates


def is_scanner(request: Request) -> bool:
    """Whether a request comes from a known tool for finding open telephone systems."""
    agent = request.header("User-Agent") or ""
    sender = request.header("From") or ""
    return bool(_SCANNERS.match(agent) or _SCANNERS_FROM.search(sender))


def _authority(config: Config, clock: Callable[[], float]) -> Authority | None:
    users = {name: user.password.get_secret_value() for _, name, user in config.callers()}
    return Authority(config.registrar.realm, users, clock) if users else None
