"""The composition root: builds the parts, publishes their counts, and drains on SIGTERM."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import structlog

from bridge import __version__
from bridge.admission import Admission
from bridge.announcements import prepare
from bridge.builtin import BuiltinAgent
from bridge.call import Call
from bridge.config import HIDDEN, Config
from bridge.core_time import CoreTime
from bridge.cycles import Cycles
from bridge.means import Means
from bridge.media import pacer
from bridge.media.pacer import Pacer
from bridge.media.ports import PortPool
from bridge.metrics import Meters
from bridge.pressure import Pressure
from bridge.prices import PriceTable
from bridge.profile import Profile, needs_builtin, needs_plain_agent, pipelines_of, profiles
from bridge.realtime.events import Event
from bridge.realtime.faults import retired
from bridge.reception import OPENING, Reception
from bridge.recorder import Recorder
from bridge.records import EndReason, Refusal
from bridge.signalling import KEYS_IN_CLEAR, keys_in_clear, user_agent, why_not_bound
from bridge.sip.message import Request
from bridge.sip.tls import TlsError
from bridge.sounds import SoundError
from bridge.spending import Books, Spending
from bridge.sums import Sums
from bridge.tools.webhook import Webhooks
from bridge.transcripts import Transcripts
from bridge.trunks import Trunks
from bridge.web.server import WebServer

_T = TypeVar("_T")

log = structlog.get_logger("sipbridge.app")

COMPILED = not str(pacer.__file__).endswith(".py")
"""Whether what runs for every packet is machine code, as in the container image (setup.py)."""
GOODBYE_S = 5.0
"""How long the last BYEs may take at the very end."""
OVERLOADED_SAID_S = 10.0
"""Between two lines that say so."""
OVERLOADED = (
    "see who else computes here; no one? let the PBX share the calls with another sipbridge, limits.calls to each"
)


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
        self.http_port = 0
        self.pacer = Pacer(on_fault=self._on_pacer_fault)
        self.ports = PortPool(*config.media.port_range)
        self.recorder = Recorder(config.recording)
        self.sums = Sums(self)
        self.meters = Meters(self.sums, __version__)
        self.meters.collector.read.append(self.sums.read)
        self.transcripts = Transcripts(config.transcripts)
        self.spending = Spending(config.limits.spend, time.monotonic)
        self._cycles = Cycles(lambda: len(self.calls))
        self._core_time = CoreTime()
        self.pressure = Pressure(config.limits.late_ms / 1000, lambda: len(self.pacer), self._core_time)
        self.pacer.on_round = self.pressure.round
        self.admission = Admission(
            config,
            clock=time.monotonic,
            spending=self.spending,
            pressure=self.pressure if config.limits.late_ms else None,
        )
        self.webhooks = Webhooks(on_answer=self.meters.tool_s.observe)
        self.reception = Reception(
            config,
            admission=self.admission,
            pacer=self.pacer,
            ports=self.ports,
            sums=self.sums,
            meters=self.meters,
            recorder=self.recorder,
            means=self._means(watch),
            transcripts=self.transcripts,
        )
        self.admission.on_refused = self._refused
        self._overloaded_said_at = -OVERLOADED_SAID_S
        self.user_agent = user_agent(
            config,
            self.admission,
            on_invite=self.reception.invited,
            availability=lambda: 503 if self.unavailable() else 200,
        )
        self.trunks = Trunks(config, self.user_agent, on_servers=self.admission.peers.learn)
        self.profiles: dict[str, Profile] = {}
        self._environ = environ
        level = config.log.level
        self._builtin = BuiltinAgent(
            "warning" if level == "info" else level,  # the call's own lines say it all
            pipelines=pipelines_of(config),
            plain=needs_plain_agent(config),
        )
        self._web = WebServer(self, self.meters.registry)
        self._started = False

    def _means(self, watch: Callable[[Call, Event], None]) -> Means:
        config, meters = self.config, self.meters
        return Means(
            session_timeout_s=config.limits.session_timeout_s,
            longest_s=config.limits.minutes * 60,
            transcripts=config.log.transcripts,
            early_media=config.sip.early_media,
            watch=watch,
            on_turn=meters.turn_s.observe,
            on_stage=lambda stage, seconds: meters.turn_stage_s.labels(stage).observe(seconds),
            webhooks=self.webhooks,
            books=Books(PriceTable(config.prices), self.spending, on_unpriced=_say_unpriced),
        )

    @property
    def calls(self) -> set[Call]:
        """Calls going on."""
        return self.reception.calls

    # Life

    async def start(self) -> None:
        """Begin to take calls. Raises StartFailed or BuiltinAgentFailed."""
        if needs_builtin(self.config):
            await self._builtin.start()
        self.profiles = profiles(self.config, self._environ, self._builtin.url)
        self._warn()
        try:
            await prepare(self.config, self.profiles)
        except SoundError as error:
            raise StartFailed(str(error)) from error
        self.reception.open(self.user_agent, self.trunks, self.profiles)
        await self._bind("sip.listen", ", ".join(self.config.sip.listen), self.user_agent.start())
        host, port = self.config.http.address
        self.http_port = await self._bind("http.listen", self.config.http.listen, self._web.start(host, port))
        self._started = True
        for profile in self.profiles.values():
            profile.open()
        self.trunks.start()
        sip = [f"{transport}://{host}:{port}" for transport, host, port in self.user_agent.local]
        self._cycles.start()
        log.info("service.ready", version=__version__, compiled=COMPILED, sip=sip, http=f"{host}:{self.http_port}")

    async def drain(self) -> None:
        """Take no new calls, let the running ones finish within limits.drain_s, then end them with BYE."""
        self.admission.draining = True
        log.info("service.draining", calls=len(self.calls), seconds=self.config.limits.drain_s)
        await self.trunks.close()
        await self.reception.wait(self.config.limits.drain_s)
        await self._end_calls()

    async def close(self) -> None:
        """End everything that still runs."""
        self.admission.draining = True
        await self._end_calls()
        if self._started:
            await self.trunks.close()
        await self.user_agent.close()
        self.pacer.close()
        self._cycles.close()
        self._core_time.close()
        await asyncio.to_thread(self.recorder.close)
        await asyncio.to_thread(self.transcripts.close)
        await self.webhooks.close()
        for profile in self.profiles.values():
            await profile.close()
        await self._web.close()
        await self._builtin.close()
        if self._started:
            log.info("service.stopped")

    async def _end_calls(self) -> None:
        for call in list(self.calls):
            call.end(EndReason.SHUTDOWN)
        await self.reception.wait(GOODBYE_S)

    # State

    def unavailable(self) -> str:
        """Empty when calls are welcome, else why not; OPTIONS says it too."""
        return self.admission.closed() if self._started else "starting"

    def readiness(self) -> str:
        """Empty when calls are welcome and can come, else why not."""
        return self.unavailable() or ("not_registered" if self.trunks.unreachable else "")

    def registrations(self) -> list[tuple[str, str, str]]:
        """Name, state and detail of each registration of ours."""
        return self.trunks.states()

    async def gather(self) -> None:
        """Read what the next scrape needs of the calls."""
        await self.sums.gather()

    def _warn(self) -> None:
        """Say at the start what would surprise somebody later."""
        for name, profile in self.profiles.items():
            if profile.lacks_key:
                raise StartFailed(
                    f"agents.{name}: there is no key: set {profile.key_variable}, or use `provider: builtin` to try"
                    " without one"
                )
            if reason := profile.wishes.why_not():
                raise StartFailed(f"agents.{name}: {reason}")
            if profile.agent.record and self.config.recording.folder is None:
                log.warning("recording.off", agent=name, advice="name a folder in recording.folder")
            if advice := retired(profile.agent.model or ""):
                log.warning("model.retired", agent=name, model=profile.agent.model, advice=advice)
            for tool in profile.offered.missing:
                advice = f"say in agents.{name}.transfer.targets whom to"
                log.warning("tool.not_offered", agent=name, tool=tool, advice=advice)
        for number, first in self.config.hidden_routes():
            log.warning("route.never_fits", route=number, advice=HIDDEN.format(first))
        for name in keys_in_clear(self.config):
            log.warning("srtp.keys_in_clear", trunk=name, advice=KEYS_IN_CLEAR)
        if self.admission.peers.open:
            log.warning("sip.open", advice="everybody may call: name your PBX's networks in trunks.<name>.peers")
        if self.admission.peers.by_default:
            log.info("sip.private_networks_only", advice=OPENING)

    async def _bind(self, key: str, where: str, starting: Awaitable[_T]) -> _T:
        try:
            return await starting
        except TlsError as error:
            raise StartFailed(f"sip.tls.{error.setting}: {error}") from error
        except OSError as error:
            raise StartFailed(f"{key}: {where}: {why_not_bound(error)}") from error

    def _refused(self, refusal: Refusal, request: Request, source: tuple[str, int]) -> None:
        self.reception.refused(refusal, request, source)
        now = time.monotonic()
        if refusal is Refusal.OVERLOADED and now - self._overloaded_said_at >= OVERLOADED_SAID_S:
            self._overloaded_said_at = now
            core, late = round(self.pressure.taken(now) * 100), round(self.pressure.late() * 100)
            log.warning(
                "service.overloaded", calls=len(self.calls), core_percent=core, late_percent=late, advice=OVERLOADED
            )

    def _on_pacer_fault(self, handle: object, error: BaseException) -> None:
        log.error("pacer.fault", error=repr(error))


def _say_unpriced(model: str) -> None:
    log.warning(
        "spend.unpriced",
        model=model,
        advice="write all it is paid by (tokens of each kind, minute) in prices.models, or limits.spend cannot see it",
    )
