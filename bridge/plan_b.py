"""A caller whose agent cannot be had, or is lost for good: told so, handed to somebody else, or let go politely.

There is no session any more, so nothing here can be interrupted by speech, and keys mean nothing. Without any
configuration the caller hears three soft notes before the BYE: never a dead line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING

import structlog

from bridge.after_speech import FAREWELL_S
from bridge.config.plan_b import PlanB as Settings
from bridge.legs.leg import LegRefused
from bridge.legs.outgoing import OutgoingLeg
from bridge.legs.rtp import nothing
from bridge.records import EndReason
from bridge.sip.uri import Uri
from bridge.sounds import FAREWELL, Sound
from bridge.transfer.handover import JOINED, TRANSFERRED, Handover, Outcome, Plan
from bridge.transfer.waiting_tone import WaitingTone
from bridge.transfer.watched import over, watched

if TYPE_CHECKING:
    from bridge.call import Call

log = structlog.get_logger("sipbridge.call")

PATIENCE_S = 5.0
"""How much longer than its length an announcement may take: a caller who holds us would hear it never."""
POLL_S = 0.1
TONE_AFTER_S = 2.0
"""How long a caller who is being transferred hears nothing."""
_names = count(1)


class State(Enum):
    """How far it has come."""

    IDLE = "idle"  # the agent is well
    ANNOUNCING = "announcing"
    TRANSFERRING = "transferring"
    PARTING = "parting"
    OVER = "over"  # the call has its end, or its caller somebody else


class PlanB:
    """Plan B of one call. `sounds` are its announcements by their keys in `settings`; None: nothing is configured."""

    def __init__(self, call: Call, settings: Settings | None, sounds: Mapping[str, Sound]) -> None:
        self.state = State.IDLE
        self._call = call
        self._settings = settings
        self._sounds = sounds
        self._reason = EndReason.SESSION_LOST
        self._detail = ""
        self._handover: Handover | None = None  # while somebody is asked to take the caller
        self._tone: WaitingTone | None = None  # while his phone rings
        self._task: asyncio.Task[None] | None = None

    @property
    def answers(self) -> bool:
        """Whether a call is answered for it, when its session cannot be opened."""
        return self._settings is not None and self._settings.answer

    @property
    def is_running(self) -> bool:
        """Whether the caller is its own: no agent's, and nobody else's yet."""
        return self.state not in (State.IDLE, State.OVER)

    def start(self, reason: EndReason, detail: str = "") -> None:
        """Begin, once: the call is answered, its session lost or never had. The call ends with this reason."""
        if self.state is State.IDLE:
            self._reason, self._detail = reason, detail
            self.state = State.ANNOUNCING
            self._task = watched(self.run(), lambda: self._call.end(EndReason.INTERNAL_ERROR))

    def handed_over(self) -> bool:
        """The caller's side has hung up: whether that is because its PBX has taken him on."""
        if self._handover is None or not self._handover.accepted:
            return False
        self.close()
        self._note(TRANSFERRED)
        self._call.counts.note_plan_b("transferred")
        return True

    def close(self) -> None:
        """The call is over."""
        self.state = State.OVER
        if self._task is not None:
            self._task.cancel()

    async def ended(self) -> None:
        """Until nothing is under way any more that `close` has broken off."""
        await over(self._task)
        self._task = None

    async def run(self) -> None:
        """Announcement, transfer, farewell: whatever of it is configured, and then the end of the call."""
        if await self._is_handed_over():
            self.state = State.OVER
            return
        log.warning("plan_b.began", reason=self._reason.value, configured=self._settings is not None)
        self._take_over()
        settings = self._settings
        first = self._sound("say", "file")
        if first is not None:
            await self._announce(State.ANNOUNCING, first)
        if settings is not None and settings.transfer is not None:
            if await self._transfer(settings.transfer):
                self.state = State.OVER
                self._call.counts.note_plan_b("transferred")
                return
            first = None
        if first is None:
            await self._announce(State.PARTING, self._sound("goodbye", "goodbye_file") or FAREWELL)
        self.state = State.OVER
        self._call.counts.note_plan_b("ended")
        self._call.end(self._reason, self._detail)

    async def _is_handed_over(self) -> bool:
        """Whether the agent's last deed was a transfer; while that is under way, it is what the caller waits for."""
        while self._call.tools.is_handing_over:  # noqa: ASYNC110 (a transfer ends in many ways, and none tells us)
            await asyncio.sleep(POLL_S)
        return self._call.is_over

    def _take_over(self) -> None:
        """From here the leg is ours. What the agent has said is still heard, and nobody hears the caller."""
        call = self._call
        call.tools.close()  # nothing that the agent began is heard, or done, any more
        call.comfort.stop()
        call.hearing.end_all()
        call.hearing.is_open = False
        leg = call.leg
        leg.on_audio = leg.on_digit = nothing
        leg.unpause()  # an interruption may have been on trial, and nobody decides it any more
        leg.end_all()

    def _sound(self, *keys: str) -> Sound | None:
        return next((self._sounds[key] for key in keys if key in self._sounds), None)

    async def _announce(self, state: State, sound: Sound) -> None:
        """Play it to its end, behind what is still queued."""
        self.state = state
        leg, name = self._call.leg, f"plan_b_{next(_names)}"
        drained = asyncio.Event()
        leg.on_drained = drained.set
        leg.play(name, sound.in_format(leg.format))
        leg.end_item(name)
        try:
            async with asyncio.timeout(leg.queued_ms / 1000 + PATIENCE_S):
                while not leg.drained:
                    drained.clear()
                    await drained.wait()
        except TimeoutError:
            log.warning("plan_b.unheard", sound=sound.name, advice="the caller held the call, or sent no audio")
            leg.flush()
        leg.on_drained = nothing
        await asyncio.sleep(FAREWELL_S)

    # Transfer

    async def _transfer(self, wanted: str) -> bool:
        """Whether the caller has somebody else now."""
        self.state = State.TRANSFERRING
        call = self._call
        target = call.profile.targets.find(wanted, call.base)
        if target is None:
            log.error("plan_b.no_target", advice="name one of agents.<name>.transfer.targets in plan_b.transfer")
            self._note("not_allowed")
            return False
        transfer = call.profile.transfer
        method = "bridge" if call.is_own_phone(target) else transfer.method
        self._handover = Handover(call.leg, Plan(target, method, transfer.timeout_s), self._dial)
        log.info("transfer.began", method=method)
        call.comfort.start("tone", TONE_AFTER_S)  # a PBX that is asked by REFER may leave him in silence
        try:
            outcome = await self._handover.run()
        except (LegRefused, ValueError) as error:
            log.warning("transfer.impossible", reason=str(error))
            outcome = Outcome("unreachable")
        finally:
            self._handover = None
            call.comfort.stop()
            self._tone_off()
        self._note(outcome.word)
        return self._settle(outcome)

    def _settle(self, outcome: Outcome) -> bool:
        call = self._call
        if outcome.word == TRANSFERRED:
            if outcome.leg is not None:
                call.former.append(outcome.leg)
            call.end(EndReason.TRANSFERRED, self._reason.value)
        elif outcome.word == JOINED and outcome.leg is not None:
            call.join(outcome.leg)
        else:
            return False
        return True

    def _dial(self, target: Uri, timeout_s: float) -> OutgoingLeg:
        """The second call; the caller hears it ring."""
        second = self._call.dial(target, timeout_s)
        self._call.comfort.stop()
        self._tone = WaitingTone(self._call.leg, second)
        return second

    def _tone_off(self) -> None:
        if self._tone is not None:
            self._tone.stop()
            self._tone = None

    def _note(self, word: str) -> None:
        self._call.counts.note_transfer(word)
        log.info("transfer.ended", outcome=word)
