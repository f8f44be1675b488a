"""A fast Realtime server for load: `python -m tests.bench.server`, one process, one epoll loop.

Prints {"port": N} when it listens. SIGUSR1 begins a measuring window, SIGUSR2 ends it, SIGTERM ends the server, which
then prints its report: see `server_figures.py`.
"""

import argparse
import contextlib
import heapq
import itertools
import json
import select
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Sequence

from tests.bench.connection import Connection, Left
from tests.bench.realtime_traffic import FIRST_AUDIO_MS, Traffic
from tests.bench.server_figures import Figures
from tests.bench.server_session import Course

LONGEST_WAIT_S = 0.05
"""A signal is seen after so long at the latest."""
MILLISECOND = 0.001
TURN_SOCKETS = 64
"""Sockets that are read before the clock is looked at."""
LOOK_US = 500
"""Microseconds between two looks at the sockets. Who sends to a sleeping process of the same machine pays for waking
its core, on a virtual machine as much as for the rest of the packet's way. A server elsewhere costs nobody that, so
this one sleeps by the clock, as the caller does."""


class Server:
    """Serves until `stop` is called."""

    def __init__(
        self,
        course: Course,
        figures: Figures,
        *,
        port: int = 0,
        sample: int = 8,
        tls: ssl.SSLContext | None = None,
        look_us: int = LOOK_US,
    ) -> None:
        """`sample`: of one session in so many the uplink is measured. `look_us`: 0 to be woken by whatever comes."""
        self.figures = figures
        self._course = course
        self._sample = sample
        self._tls = tls
        self._look_s = look_us / 1e6
        self._running = True
        self._listening = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._listening.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._listening, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._numbers = itertools.count(1)
        self._due: list[tuple[float, int, Connection, Iterator[float]]] = []
        self._order = itertools.count()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listening.getsockname()[1])

    def stop(self) -> None:
        """End `run` soon."""
        self._running = False

    def run(self) -> None:
        """Serve."""
        try:
            while self._running:
                for descriptor, events in self._poll():
                    self._serve(descriptor, events)
                self._go_on()
        finally:
            for connection in list(self._connections.values()):
                self._leave(connection)
            self._listening.close()
            self._epoll.close()

    def _poll(self) -> list[tuple[int, int]]:
        """Sockets that have something, now or before the next story goes on."""
        if self._look_s and self._connections:
            return self._look()
        wait_s = self._due[0][0] - time.monotonic() if self._due else LONGEST_WAIT_S
        if 0 < wait_s < MILLISECOND:  # epoll would wait for a whole one
            select.select((self._epoll,), (), (), wait_s)
        whole_ms = int(min(max(0.0, wait_s), LONGEST_WAIT_S) / MILLISECOND)
        return self._epoll.poll((whole_ms - 0.5) * MILLISECOND if whole_ms else 0, TURN_SOCKETS)  # it rounds up

    def _look(self) -> list[tuple[int, int]]:
        """Sockets that have something; when none has, those that have after a short sleep, which no packet ends."""
        ready = self._epoll.poll(0, TURN_SOCKETS)
        if ready or (self._due and self._due[0][0] <= time.monotonic()):
            return ready
        time.sleep(self._look_s)
        return self._epoll.poll(0, TURN_SOCKETS)

    def _serve(self, descriptor: int, events: int) -> None:
        connection = self._connections.get(descriptor)
        if connection is None:
            self._accept()
            return
        try:
            if events & select.EPOLLOUT:
                connection.resume()
                if not connection.is_waiting:
                    self._epoll.modify(descriptor, select.EPOLLIN)
            if events & ~select.EPOLLOUT:
                connection.read()
        except Left:
            self._leave(connection)

    def _accept(self) -> None:
        while True:
            try:
                own, _ = self._listening.accept()
            except BlockingIOError:
                return
            number = next(self._numbers)
            connection = Connection(
                own,
                number,
                self._course,
                self.figures,
                sampled=(number - 1) % self._sample == 0,
                tls=self._tls,
                wake_at=self._wake_at,
                watch_writable=self._watch_writable,
            )
            self._connections[own.fileno()] = connection
            self._epoll.register(own, select.EPOLLIN)
            self.figures.sessions_opened += 1
            self.figures.open_sessions += 1

    def _leave(self, connection: Connection) -> None:
        del self._connections[connection.socket.fileno()]
        connection.close()
        self.figures.sessions_closed += 1
        self.figures.open_sessions -= 1

    # Time

    def _wake_at(self, connection: Connection, due: float, story: Iterator[float]) -> None:
        heapq.heappush(self._due, (due, next(self._order), connection, story))

    def _watch_writable(self, connection: Connection) -> None:
        self._epoll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def _go_on(self) -> None:
        """Continue the stories that are due."""
        due, add_lateness = self._due, self.figures.lateness_ms.add
        now = time.monotonic()
        while due and due[0][0] <= now:
            at, order, connection, story = due[0]
            if story is not connection.session.story:
                heapq.heappop(due)
                continue
            add_lateness((now - at) * 1000)
            heapq.heapreplace(due, (next(story), order, connection, story))
            now = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    given = _parser().parse_args(arguments)
    course = Course(
        Traffic(given.say_ms, given.delta_ms, given.pause_ms, given.first_audio_ms),
        given.speed,
        given.barge_in_ms / 1000 if given.barge_in_ms else float("inf"),
    )
    tls = None
    if given.tls_cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(given.tls_cert, given.tls_key)
    server = Server(course, Figures(), port=given.port, sample=given.sample, tls=tls, look_us=given.look_us)
    signal.signal(signal.SIGUSR1, lambda *_: server.figures.begin())
    signal.signal(signal.SIGUSR2, lambda *_: server.figures.end())
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    signal.signal(signal.SIGINT, lambda *_: server.stop())
    print(json.dumps({"port": server.port}), flush=True)
    server.run()
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(server.figures.report()), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.server", description="A Realtime server for load.")
    add = parser.add_argument
    add("--port", type=int, default=0, help="TCP port at 127.0.0.1; 0: a free one")
    add("--tls-cert", help="PEM file: speak TLS")
    add("--tls-key", help="PEM file of its key")
    add("--first-audio-ms", type=int, default=FIRST_AUDIO_MS, help="from a response's beginning to its first delta")
    add("--say-ms", type=int, default=8000, help="audio of a response")
    add("--delta-ms", type=int, default=200, help="audio of a delta")
    add("--pause-ms", type=int, default=500, help="from the end of the audio to the caller's next turn")
    add("--speed", type=float, default=3.0, help="audio leaves so many times faster than it is played")
    add("--barge-in-ms", type=int, default=0, help="from the first delta to the interruption; 0: never")
    add("--sample", type=int, default=8, help="measure the uplink of one session in so many")
    add("--look-us", type=int, default=LOOK_US, help="between two looks at the sockets; 0: woken by each packet")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
