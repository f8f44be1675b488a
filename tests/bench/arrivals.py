"""What comes back to all callers: a row per packet, and how soon the first of each answer was there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.bench.mmsg import Incoming, Table
from tests.bench.sockets import MediaSocket, dropped

ARRIVAL = np.dtype(
    [
        ("t_ns", "i8"),
        ("call", "i4"),
        ("timestamp", "u4"),
        ("response", "u4"),
        ("frame", "u4"),
        ("sequence", "u2"),
        ("marker", "u1"),
    ]
)
"""A packet and its kernel stamp. `response` is 0 where it carries silence, or audio that was converted or sealed."""
_DOWN = np.dtype(
    [
        ("first", "u1"),
        ("second", "u1"),
        ("sequence", ">u2"),
        ("timestamp", ">u4"),
        ("ssrc", ">u4"),
        ("magic", ">u4"),
        ("response", ">u4"),
        ("frame", ">u4"),
        ("zero", ">u4"),
        ("t_ns", ">u8"),
    ]
)
MAGIC = int.from_bytes(b"SBdn", "big")
_PLAIN = 0x80
_NOBODY = -1
_ROWS = 1 << 16
MAX_ROWS = 8_000_000
"""Of one window, 216 MB: five minutes of 500 calls. What comes later is counted only."""


class Arrivals:
    """Reads the media sockets. Keeps rows between `begin` and `end` only."""

    def __init__(self, sockets: Sequence[MediaSocket]) -> None:
        self.strangers = 0
        """In the window: no RTP, or of a call that is not up, as the last packets after a BYE."""
        self.unkept = 0
        """In the window: packets beyond MAX_ROWS."""
        self.latencies_ms: list[Table] = []
        """Of the first packets of answers in the window: from the writing of the delta until the kernel had it."""
        self._sockets = sockets
        self._filenos = [opened.rtp.fileno() for opened in sockets]
        self._call_of = np.full((len(sockets), 1 << 16), _NOBODY, np.int32)
        self._batch = Incoming()
        shape, stride = (self._batch.size,), (self._batch.datagrams.strides[0],)
        self._heads: Table = np.ndarray(shape, _DOWN, self._batch.datagrams, 0, stride)
        self._full: list[Table] = []
        self._rows = np.empty(_ROWS, ARRIVAL)
        self._count = 0
        self._keeping = False
        self._dropped_before = 0

    def expect(self, call: int, socket_index: int, port: int) -> None:
        """What comes from that port of the service to that socket is this call's."""
        self._call_of[socket_index, port] = call

    def forget(self, call: int, socket_index: int, port: int) -> None:
        """The call is over. Another may have the port by now."""
        if self._call_of[socket_index, port] == call:
            self._call_of[socket_index, port] = _NOBODY

    def begin(self) -> None:
        """Begin a window; the figures of an earlier one are gone."""
        self._full, self._count, self.latencies_ms = [], 0, []
        self.strangers = self.unkept = 0
        self._dropped_before = sum(dropped(opened.rtp) for opened in self._sockets)
        self._keeping = True

    def end(self) -> int:
        """End the window; how many packets our own sockets had no room for meanwhile."""
        self._keeping = False
        return sum(dropped(opened.rtp) for opened in self._sockets) - self._dropped_before

    def rows(self) -> Table:
        """All packets of the window, those of one socket in order of arrival."""
        return np.concatenate([*self._full, self._rows[: self._count]])

    def drain(self, socket_index: int) -> None:
        """Take in what has come to one socket."""
        count = self._batch.size
        while count == self._batch.size:
            count = self._batch.receive(self._filenos[socket_index])
            if count and self._keeping:
                self._keep(count, self._call_of[socket_index])

    def _keep(self, count: int, call_of: Table) -> None:
        heads = self._heads[:count]
        if len(self._full) * _ROWS + count > MAX_ROWS:
            self.unkept += count
            return
        if self._count + count > _ROWS:
            self._full.append(self._rows[: self._count])
            self._rows, self._count = np.empty(_ROWS, ARRIVAL), 0
        rows = self._rows[self._count : self._count + count]
        # A packet of RTCP has a type of 192 and more where RTP has marker and type (RFC 5761 section 4).
        second = heads["second"]
        is_rtp = (heads["first"] == _PLAIN) & ((second < 192) | (second > 223))
        told = (heads["magic"] == MAGIC) & (heads["zero"] == 0) & (self._batch.lengths[:count] >= _DOWN.itemsize)
        rows["t_ns"] = self._batch.times(count)
        rows["call"] = np.where(is_rtp, call_of[self._batch.ports[:count]], _NOBODY)
        rows["timestamp"] = heads["timestamp"]
        rows["response"] = heads["response"] * told
        rows["frame"] = heads["frame"]
        rows["sequence"] = heads["sequence"]
        rows["marker"] = second >> 7
        self._note_first_frames(heads, rows, told)
        self._settle(rows)

    def _note_first_frames(self, heads: Table, rows: Table, told: Table) -> None:
        first = told & (heads["frame"] == 0) & (rows["call"] >= 0)
        if first.any():
            written = heads["t_ns"][first].astype(np.int64)
            self.latencies_ms.append((rows["t_ns"][first] - written)[written > 0] / 1e6)

    def _settle(self, rows: Table) -> None:
        """Make the new rows part of the record, without those of nobody."""
        known = rows["call"] >= 0
        count = int(known.sum())
        if count < len(rows):
            rows[:count] = rows[known]
            self.strangers += len(rows) - count
        self._count += count
