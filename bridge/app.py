"""The composition root: builds the parts, lets calls in, publishes their counts, and drains on SIGTERM."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import structlog

from bridge import __version__
from bridge.admission import Admission
from bridge.builtin import BuiltinAgent
from bridge.call import Call
from bridge.config import Config
from bridge.legs.leg import LegRefused
from bridge.legs.sip import SipLeg
from bridge.logs import LogBudget
from bridge.media.pacer import Pacer
from bridge.media.ports import PortPool
from bridge.metrics import Meters
from bridge.profile import Profile, needs_builtin, profiles
from bridge.realtime.events import Event
from bridge.records import CallRecord, EndReason, Origin, Refusal, warning
from bridge.routing import Router, origin_of
from bridge.sip.errors import SipError
from bridge.sip.gate import Admitted, Silence
from bridge.sip.identity import Identity
from bridge.sip.invitation import Invitation
from bridge.sip.message import Request
from bridge.sip.ua import ListenAddress, UserAgent
from bridge.sums import Sums
from bridge.web.server import WebServer

_T = TypeVar("_T")

log = structlog.get_logger("sipbridge.app")

GOODBYE_S = 5.0
"""How long the last BYEs may take at the very end."""
REFUSALS_LOGGED_PER_S = 10
CALL_ID_LOGGED = 128
OPENING = "to take calls from elsewhere, name the network in trunks.<name>.peers; everybody is 0.0.0.0/0"


class StartFailed(Exception):
    """The service cannot start; the text names the part, what is wrong, and the next step."""


class App:
    """The service: `start` it, wait, `drain` it, `close` it."""

    def __init__(
        self,
        config: Config,
        *,
        environ: Mapping[str, str] = os.environ,
        watch: Callable[[Call, Event], None] = lambda call, event: None,
    ) -> None:
        self.config = config
        self.calls: set[Call] = set()
        self.http_port = 0
        self.admission = Admission(config, on_refused=self._on_refused)
        self.router = Router(config)
        self.pacer = Pacer(on_fault=self._on_pacer_fault)
        self.ports = PortPool(*config.media.port_range)
        self.sums = Sums(self)
        self.meters = Meters(self.sums, __version__)
        self.meters.collector.read.append(self.sums.read)
        self.user_agent = UserAgent(
            listen=self._listen_addresses(),
            advertise=config.sip.advertise,
            on_invite=self._on_invite,
            availability=lambda: 503 if self.readiness() else 200,
        )
        self.profiles: dict[str, Profile] = {}
        self._environ = environ
        self._watch = watch
        level = config.log.level
        self._refusal_log = LogBudget(REFUSALS_LOGGED_PER_S)
        self._builtin = BuiltinAgent("warning" if level == "info" else level)  # the call's own lines say it all
        self._web = WebServer(self, self.meters.registry)
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False

    # Life

    async def start(self) -> None:
        """Begin to take calls. Raises StartFailed or BuiltinAgentFailed."""
        if needs_builtin(self.config):
            await self._builtin.start()
        self.profiles = profiles(self.config, self._environ, self._builtin.url)
        self._warn()
        listen = ", ".join(
            f"{address.transport}://{address.host}:{address.port}" for address in self._listen_addresses()
        )
        await self._bind("sip.listen", listen, self.user_agent.start())
        host, port = self.config.http.address
        self.http_port = await self._bind("http.listen", self.config.http.listen, self._web.start(host, port))
        self._started = True
        sip = [f"{transport}://{host}:{port}" for transport, host, port in self.user_agent.local]
        log.info("service.ready", version=__version__, sip=sip, http=f"{host}:{self.http_port}")

    async def drain(self) -> None:
        """Take no new calls, let the running ones finish within limits.drain_s, then end them with BYE."""
        self.admission.draining = True
        log.info("service.draining", calls=len(self.calls), seconds=self.config.limits.drain_s)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=self.config.limits.drain_s)
        await self._end_calls()

    async def close(self) -> None:
        """End everything that still runs."""
        self.admission.draining = True
        await self._end_calls()
        await self.user_agent.close()
        self.pacer.close()
        await self._web.close()
        await self._builtin.close()
        if self._started:
            log.info("service.stopped")

    async def _end_calls(self) -> None:
        for call in list(self.calls):
            call.end(EndReason.SHUTDOWN)
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=GOODBYE_S)

    def readiness(self) -> str:
        """Empty when calls are welcome, else why not."""
        if not self._started:
            return "starting"
        return self.admission.closed()

    def _warn(self) -> None:
        """Say at the start what would surprise somebody later."""
        for name, profile in self.profiles.items():
            if profile.lacks_key:
                raise StartFailed(
                    f"agents.{name}: there is no key: set OPENAI_API_KEY, or use `provider: builtin` to try without one"
                )
            for tool in profile.missing_tools:
                log.warning("tool.not_offered", agent=name, tool=tool, advice="this version does not have it")
        for endpoint in self.config.sip.endpoints():
            if endpoint.transport != "udp":
                log.warning("listen.skipped", transport=endpoint.transport, advice="this version answers UDP only")
        for name, trunk in self.config.trunks.items():
            if trunk.register_:
                log.warning("trunk.not_registered", trunk=name, advice="this version does not register: route by IP")
        if not self._listen_addresses():
            raise StartFailed("sip.listen: this version answers UDP only: add udp://0.0.0.0:5060")
        if self.admission.peers.open:
            log.warning("sip.open", advice="everybody may call: name your PBX's networks in trunks.<name>.peers")
        if self.admission.peers.by_default:
            log.info("sip.private_networks_only", advice=OPENING)

    def _listen_addresses(self) -> list[ListenAddress]:
        return [
            ListenAddress(endpoint.transport, endpoint.host, endpoint.port)
            for endpoint in self.config.sip.endpoints()
            if endpoint.transport == "udp"
        ]

    async def _bind(self, key: str, where: str, starting: Awaitable[_T]) -> _T:
        try:
            return await starting
        except OSError as error:
            hint = {
                errno.EADDRINUSE: "another service has this port; is sipbridge already running?",
                errno.EADDRNOTAVAIL: "this machine does not have this address",
                errno.EACCES: "a port below 1024 needs root or CAP_NET_BIND_SERVICE",
            }.get(error.errno or 0, error.strerror or str(error))
            raise StartFailed(f"{key}: {where}: {hint}") from error

    # Calls

    def _on_invite(self, invitation: Invitation) -> None:
        request, source = invitation.request, invitation.source
        admitted = self.admission.judge(request, source, "UDP")
        if isinstance(admitted, Silence):
            invitation.reject(403, headers=[warning(admitted.reason)])
            return
        if isinstance(admitted, SipError):
            invitation.reject(admitted.status, headers=admitted.headers)
            return
        identity = Identity.of(request, admitted.trusted)
        choice = self.router.choose(identity, admitted.trunk, request.lines)
        if choice is None:
            self._refuse(invitation, Refusal.NO_ROUTE.status, Refusal.NO_ROUTE.word)
            return
        trunk = self.config.trunks.get(admitted.trunk)
        srtp = trunk.srtp if trunk else "off"
        leg = SipLeg(invitation, pacer=self.pacer, ports=self.ports, media=self.config.media, srtp=srtp)
        try:
            leg.prepare()
        except LegRefused as refused:
            self._refuse(invitation, refused.status, refused.word, refused.headers)
            return
        origin = origin_of(identity, admitted, choice, request, trunk.headers if trunk else ())
        self._begin(leg, self.profiles[choice.agent], origin, admitted, source[0])

    def _refuse(self, invitation: Invitation, status: int, word: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Refuse what the gate has let in."""
        self._note_refusal(invitation.request, invitation.source, status, word)
        named = any(name == "Warning" for name, _ in headers)
        invitation.reject(status, headers=headers if named else [*headers, warning(word)])

    def _on_refused(self, refusal: Refusal, request: Request, source: tuple[str, int]) -> None:
        advice = OPENING if refusal is Refusal.STRANGER else None
        self._note_refusal(request, source, refusal.status, refusal.word, advice)

    def _note_refusal(
        self, request: Request, source: tuple[str, int], status: int, word: str, advice: str | None = None
    ) -> None:
        """One word for metric and log; the answer's Warning has it too."""
        self.sums.totals.add("refusals", label=word)
        unlogged = self._refusal_log.take(time.monotonic())
        if unlogged is None:
            return
        seen = {"status": status or None, "advice": advice, "unlogged": unlogged or None}
        more = {name: value for name, value in seen.items() if value is not None}
        event = "call.refused" if request.method == "INVITE" else "request.refused"
        log.info(event, call=_short(request.call_id), method=request.method, reason=word, source=source[0], **more)

    def _begin(self, leg: SipLeg, profile: Profile, origin: Origin, admitted: Admitted, host: str) -> None:
        call = Call(
            leg,
            profile,
            origin=origin,
            session_timeout_s=self.config.limits.session_timeout_s,
            limit_s=self.config.limits.minutes * 60,
            transcripts=self.config.log.transcripts,
            watch=self._watch,
            on_turn=self.meters.turn_s.observe,
        )
        self.calls.add(call)
        self.admission.entered(admitted.trunk, host)
        task = asyncio.create_task(self._run(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: self.admission.left(admitted.trunk, host))

    async def _run(self, call: Call) -> None:
        leg = call.leg
        with structlog.contextvars.bound_contextvars(call=_short(leg.call_id)):
            known = call.origin.logged(callers=self.config.log.callers)
            log.info("call.began", agent=call.profile.name, law=leg.law.name, **known)
            try:
                self._finish(call, await call.run())
            except Exception:  # one call's bug must not end the others; it is logged with its trace
                log.exception("call.failed")
                self.sums.totals.add("calls", label=EndReason.INTERNAL_ERROR.value)
            finally:
                self.calls.discard(call)
                self.sums.keep(call)

    def _finish(self, call: Call, record: CallRecord) -> None:
        self.sums.totals.add("calls", label=record.reason.value)
        if record.answered:
            self.meters.setup_s.observe(record.setup_s)
            self.meters.talk_s.observe(record.talk_s)
        counts = call.collected()
        log.info(
            "call.ended",
            agent=record.agent,
            **record.origin.logged(callers=self.config.log.callers),
            reason=record.reason.value,
            detail=record.detail or None,
            law=record.law,
            answered=record.answered,
            setup_ms=round(record.setup_s * 1000),
            seconds=round(record.talk_s, 1),
            barge_ins=counts.barge_ins,
            **call.leg.summary(),
        )

    def _on_pacer_fault(self, handle: object, error: BaseException) -> None:
        log.error("pacer.fault", error=repr(error))


def _short(call_id: str) -> str:
    """A Call-ID as it stands in the log: the peer chose it, and may have chosen 20 kB."""
    return call_id if len(call_id) <= CALL_ID_LOGGED else f"{call_id[:CALL_ID_LOGGED]}..."
