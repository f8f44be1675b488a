"""Calls longer than the shortest session interval there is. They go on beside the other tests, in a thread."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from tests.phones.asterisk import MILLIWATT, Asterisk
from tests.phones.certificates import Authority
from tests.phones.peers import Peer
from tests.service.rig import bench, ended

LONGER_S = 100
"""The interval is 90 s. Without a refresh both sides hang up 30 s before it is over (RFC 4028 section 10)."""


@dataclass(frozen=True, slots=True)
class Lasted:
    """What was seen of one call after so long."""

    is_up: bool
    still_hears: bool
    refreshes_sent: int
    refreshes_received: int
    log: str


class Lasting:
    """Two calls with an Asterisk of their own: in one the service refreshes the session, in the other Asterisk does."""

    def __init__(self, peer: Peer, folder: Path, authority: Authority) -> None:
        self.seen: Future[tuple[Lasted, Lasted]] = Future()
        """The call that we refresh, and the one that Asterisk does."""
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(_both(peer, folder, authority))
        self._thread = threading.Thread(target=self._run, name="lasting calls")
        self._thread.start()

    def _run(self) -> None:
        try:
            self.seen.set_result(self._loop.run_until_complete(self._task))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is raised again where it is awaited
            self.seen.set_exception(error)
        finally:
            self._loop.close()

    def close(self) -> None:
        """End the calls, if they still go on."""
        if not self.seen.done():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()


async def _both(peer: Peer, folder: Path, authority: Authority) -> tuple[Lasted, Lasted]:
    with Asterisk.start(peer, folder / "pbx", authority) as pbx:
        return await asyncio.gather(_call(folder / "ours", pbx, "us"), _call(folder / "theirs", pbx, "peer"))


async def _call(folder: Path, pbx: Asterisk, refresher: str) -> Lasted:
    timer = {"session_timer": {"expires_s": 90, "min_s": 90, "refresher": refresher}}
    async with bench(folder, "vad: false", sip=timer, limits={"drain_s": 0}) as (service, server):
        await pbx.originate("trunk-timers", service.uri(), "800")
        await service.until("sipbridge_calls_active", 1)
        before = await service.metrics()
        await asyncio.sleep(LONGER_S)
        after = await service.metrics()
        lasted = Lasted(
            is_up=after["sipbridge_calls_active"] == 1,
            still_hears=MILLIWATT * 100 in bytes(server.sessions[0].input_audio)[-8000:],
            refreshes_sent=_more(before, after, 'responses_received_total{status="200"}'),
            refreshes_received=_more(before, after, 'requests_received_total{method="INVITE"}')
            + _more(before, after, 'requests_received_total{method="UPDATE"}'),
            log=service.said(),
        )
        await asyncio.to_thread(service.stop)
        await ended(server.sessions[0])
    return lasted


def _more(before: dict[str, float], after: dict[str, float], name: str) -> int:
    return int(after.get(f"sipbridge_sip_{name}", 0) - before.get(f"sipbridge_sip_{name}", 0))
