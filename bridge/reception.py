"""From an INVITE that the gate has let in to a running call, and its record."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bridge.call import Call
from bridge.config import Config
from bridge.legs.leg import LegRefused, Party
from bridge.legs.outgoing import OutgoingLeg
from bridge.legs.sip import SipLeg
from bridge.logs import LogBudget
from bridge.means import Means
from bridge.media.pacer import Pacer
from bridge.media.ports import PortPool
from bridge.metrics import Meters
from bridge.phones import Phones
from bridge.profile import Profile
from bridge.recorder import Recorder
from bridge.recording import Recording
from bridge.records import CallRecord, EndReason, Origin, Refusal, warning
from bridge.routing import Router, origin_of
from bridge.sip.identity import Identity
from bridge.sip.invitation import Invitation
from bridge.sip.message import Request
from bridge.sip.ua import UserAgent
from bridge.sip.uri import Uri, host_port
from bridge.sums import Sums
from bridge.transcripts import Transcripts, cost_told, lines
from bridge.trunks import Trunks

if TYPE_CHECKING:
    from bridge.admission import Admission

log = structlog.get_logger("sipbridge.app")

REFUSALS_LOGGED_PER_S = 10
CALL_ID_LOGGED = 128
_USER = re.compile(r"[A-Za-z0-9+*_.\-]{1,64}\Z")
"""Called numbers that are fit for our From."""
OPENING = "to take calls from elsewhere, name the network in trunks.<name>.peers; everybody is 0.0.0.0/0"


class Reception:
    """Gives each call its agent, or refuses it with one word; keeps the running ones."""

    def __init__(
        self,
        config: Config,
        *,
        admission: Admission,
        pacer: Pacer,
        ports: PortPool,
        sums: Sums,
        meters: Meters,
        recorder: Recorder,
        means: Means,
        transcripts: Transcripts,
    ) -> None:
        self.calls: set[Call] = set()
        self.profiles: Mapping[str, Profile] = {}
        self.user_agent: UserAgent
        self.trunks: Trunks
        self._config = config
        self._admission = admission
        self._router = Router(config)
        self._pacer = pacer
        self._ports = ports
        self._sums = sums
        self._meters = meters
        self._recorder = recorder
        self._means = means
        self._transcripts = transcripts
        self._refusal_log = LogBudget(REFUSALS_LOGGED_PER_S)
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, user_agent: UserAgent, trunks: Trunks, profiles: Mapping[str, Profile]) -> None:
        """What calls need besides: who signals them, the way out, and who answers. Before the first call."""
        self.user_agent, self.trunks, self.profiles = user_agent, trunks, profiles
        advertised = [trunk.advertise for trunk in self._config.trunks.values() if trunk.advertise]
        self._phones = Phones(self._config.registrar, user_agent, advertised)

    async def wait(self, seconds: float) -> None:
        """Until every call is over, `seconds` at most."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    # A new call

    def invited(self, invitation: Invitation) -> None:
        """Take a call, or refuse it; returns at once."""
        request, admitted = invitation.request, invitation.admitted
        identity = Identity.of(request, admitted.trusted)
        choice = self._router.choose(identity, admitted.trunk, request.lines)
        if choice is None:
            self._refuse(invitation, Refusal.NO_ROUTE.status, Refusal.NO_ROUTE.word)
            return
        replaced = self._replaced(invitation)
        if invitation.replaces is not None and replaced is None:
            self._refuse(invitation, Refusal.NOT_YOURS.status, Refusal.NOT_YOURS.word)
            return
        refusal = self._means.books.spending.may_begin(identity.shown_caller.user) if replaced is None else None
        if refusal is not None:
            self._refuse_to_spend(invitation, refusal)
            return
        profile = replaced.profile if replaced is not None else self.profiles[choice.agent]
        leg = self._leg(invitation, profile)
        try:
            leg.prepare()
        except LegRefused as refused:
            self._refuse(invitation, refused.status, refused.word, refused.headers)
            return
        if replaced is not None:
            replaced.succession.replace(leg)
            return
        names = self._config.trunks[admitted.trunk].headers if admitted.trunk in self._config.trunks else ()
        origin = origin_of(identity, admitted, choice, request, names)
        self._begin(leg, profile, origin, invitation)

    def _leg(self, invitation: Invitation, profile: Profile) -> SipLeg:
        trunk = self._config.trunks.get(invitation.admitted.trunk)
        srtp = trunk.srtp if trunk else "off"
        invitation.advertise = trunk.advertise if trunk else None
        invitation.authenticator = self.trunks.way(invitation.admitted.trunk).authenticator
        return SipLeg(
            invitation,
            pacer=self._pacer,
            ports=self._ports,
            media=self._config.media,
            srtp=srtp,
            wishes=profile.wishes,
        )

    def _replaced(self, invitation: Invitation) -> Call | None:
        """The call whose place an INVITE with Replaces takes: only one of the same trunk, and only one that talks."""
        if invitation.replaces is None:
            return None
        for call in self.calls:
            leg = call.leg
            if isinstance(leg, SipLeg | OutgoingLeg) and leg.session is invitation.replaces:
                theirs = call.origin.trunk == invitation.admitted.trunk
                return call if theirs and call.succession.is_open else None
        return None

    def _begin(self, leg: SipLeg, profile: Profile, origin: Origin, invitation: Invitation) -> None:
        trunk, host = invitation.admitted.trunk, invitation.source[0]
        call = Call(
            leg,
            profile,
            self._means,
            origin=origin,
            dial=lambda target, ring_limit_s, headers=(): self._dial(call, target, ring_limit_s, headers),
            server=self.trunks.server(trunk),
            is_own_phone=self._phones.is_one,
            record=partial(self._record, profile),
        )
        self.calls.add(call)
        self._admission.entered(trunk, host)
        task = asyncio.create_task(self._run(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: self._admission.left(trunk, host))

    def _record(self, profile: Profile, party: Party) -> Recording | None:
        return self._recorder.begin(profile.name, party.call_id, party.format) if profile.agent.record else None

    def _dial(self, call: Call, target: Uri, ring_limit_s: float, headers: Sequence[tuple[str, str]]) -> OutgoingLeg:
        """Another call, to a phone of ours or on the trunk of a call. Raises LegRefused or ValueError."""
        origin, targets, base = call.origin, call.profile.targets, call.base
        if self._phones.is_one(target):
            return self._ring_phone(target, ring_limit_s, self._own_name(origin, target), headers)
        way = self.trunks.way(origin.trunk, target)
        trunk = self._config.trunks.get(origin.trunk)
        srtp, advertise = (trunk.srtp, trunk.advertise) if trunk else ("off", None)
        leg = OutgoingLeg(self.user_agent, pacer=self._pacer, ports=self._ports, media=self._config.media, srtp=srtp)
        leg.dial(
            target,
            ring_limit_s=ring_limit_s,
            caller=f"<{way.caller}>" if way.caller else self._own_name(origin, target, advertise),
            routes=way.routes,
            authenticator=way.authenticator,
            headers=headers,
            advertise=advertise,
            redirects=lambda uri: targets.allows(uri, base),
        )
        return leg

    def _ring_phone(
        self, target: Uri, ring_limit_s: float, caller: str, headers: Sequence[tuple[str, str]]
    ) -> OutgoingLeg:
        found = self._phones.find(target)
        if found is None:
            raise LegRefused(480, "not_registered", f"{target.user} is not registered here")
        contact, flow = found
        leg = OutgoingLeg(self.user_agent, pacer=self._pacer, ports=self._ports, media=self._config.media)
        leg.dial(contact, ring_limit_s=ring_limit_s, caller=caller, headers=headers, flow=flow)
        return leg

    def _own_name(self, origin: Origin, target: Uri, advertise: str | None = None) -> str:
        """Our From: the number that was called, at our address."""
        user = origin.called if _USER.match(origin.called) else "sipbridge"
        return f"<sip:{user}@{host_port(self.user_agent.local_address_for(target.host, advertise))}>"

    # A refused call

    def _refuse(self, invitation: Invitation, status: int, word: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Refuse what the gate has let in."""
        self.note_refusal(invitation.request, invitation.source, status, word)
        named = any(name == "Warning" for name, _ in headers)
        invitation.reject(status, headers=headers if named else [*headers, warning(word)])

    def _refuse_to_spend(self, invitation: Invitation, refusal: Refusal) -> None:
        retry_after_s = self._means.books.spending.retry_after_s()
        headers = refusal.headers_after(retry_after_s) if refusal is Refusal.SPEND_HOUR else refusal.headers
        self._refuse(invitation, refusal.status, refusal.word, headers)

    def refused(self, refusal: Refusal, request: Request, source: tuple[str, int]) -> None:
        """The gate has refused a request."""
        advice = OPENING if refusal is Refusal.STRANGER else None
        self.note_refusal(request, source, refusal.status, refusal.word, advice)

    def note_refusal(
        self, request: Request, source: tuple[str, int], status: int, word: str, advice: str | None = None
    ) -> None:
        """One word for metric and log; the answer's Warning has it too."""
        self._sums.totals.add("refusals", label=word)
        unlogged = self._refusal_log.take(time.monotonic())
        if unlogged is None:
            return
        seen = {"status": status or None, "advice": advice, "unlogged": unlogged or None}
        more = {name: value for name, value in seen.items() if value is not None}
        event = "call.refused" if request.method == "INVITE" else "request.refused"
        log.info(event, call=_short(request.call_id), method=request.method, reason=word, source=source[0], **more)

    # A call's life

    async def _run(self, call: Call) -> None:
        leg = call.leg
        with structlog.contextvars.bound_contextvars(call=_short(leg.call_id)):
            known = call.origin.logged(callers=self._config.log.callers)
            log.info("call.began", agent=call.profile.name, codec=leg.codec.name, **known)
            try:
                self._finish(call, await call.run())
            except Exception:  # one call's bug must not end the others; it is logged with its trace
                log.exception("call.failed")
                self._sums.totals.add("calls", label=EndReason.INTERNAL_ERROR.value)
            finally:
                self.calls.discard(call)
                self._sums.keep(call)

    def _finish(self, call: Call, record: CallRecord) -> None:
        self._sums.totals.add("calls", label=record.reason.value)
        if record.answered:
            self._meters.setup_s.observe(record.setup_s)
            self._meters.talk_s.observe(record.talk_s)
            self._meters.observe_quality(record.quality)
        counts = call.collected()
        self._meters.observe_counts(counts)
        cost = cost_told(counts, self._config.prices.currency, priced=bool(self._means.books.table))
        self._keep_transcript(call, record, cost)
        log.info(
            "call.ended",
            agent=record.agent,
            **record.origin.logged(callers=self._config.log.callers),
            reason=record.reason.value,
            detail=record.detail or None,
            codec=record.codec,
            answered=record.answered,
            setup_ms=round(record.setup_s * 1000),
            seconds=round(record.talk_s, 1),
            barge_ins=counts.barge_ins,
            **cost,
            **call.leg.summary(),
            **record.quality,
        )

    def _keep_transcript(self, call: Call, record: CallRecord, cost: Mapping[str, object]) -> None:
        entries = call.transcript.entries()
        if self._config.log.transcripts and entries:
            log.info("call.transcript", lines=lines(entries))
        self._transcripts.keep(record, entries, call.origin.logged(callers=self._config.log.callers) | dict(cost))


def _short(call_id: str) -> str:
    """A Call-ID as it stands in the log: the peer chose it, and may have chosen 20 kB."""
    return call_id if len(call_id) <= CALL_ID_LOGGED else f"{call_id[:CALL_ID_LOGGED]}..."
