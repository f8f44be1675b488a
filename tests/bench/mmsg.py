"""Many UDP datagrams by one system call: sendmmsg(2) and recvmmsg(2) on tables that are filled once (Linux, 64 bit).

The tables are numpy arrays in the layout of the C structures, so they are changed for many datagrams at once.
"""

import ctypes
import errno
import os
import socket
from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[Any]

SOCKADDR_IN = np.dtype([("family", "=u2"), ("port", ">u2"), ("address", ">u4"), ("zero", "V8")])
IOVEC = np.dtype([("base", "u8"), ("bytes", "u8")])
MMSGHDR = np.dtype(
    {
        "names": ["name", "name_bytes", "iov", "iov_count", "control", "control_bytes", "flags", "bytes"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
"""`bytes` is the length of the datagram, written by the kernel."""
STAMP = np.dtype([("bytes", "u8"), ("level", "i4"), ("kind", "i4"), ("seconds", "i8"), ("nanoseconds", "i8")])
"""The ancillary message of a socket that has nothing but SO_TIMESTAMPNS switched on."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
_libc.recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
_FULL = (errno.EAGAIN, errno.ENOBUFS, errno.EINTR)


def addresses(table: Table) -> Table:
    """Where each row of a table lies in memory."""
    return table.ctypes.data + np.arange(len(table), dtype=np.uint64) * np.uint64(table.strides[0])


class Outgoing:
    """Datagrams that lie ready in the rows of `packets`, each with a destination; any choice of them leaves at once."""

    def __init__(self, packets: Table) -> None:
        rows = len(packets)
        self.to = np.zeros(rows, SOCKADDR_IN)
        self.to["family"] = socket.AF_INET
        self._packets = packets  # the pointers below keep nobody alive
        self._pieces = np.zeros(rows, IOVEC)
        self._pieces["base"] = addresses(packets)
        self._pieces["bytes"] = packets.strides[0]
        self._names, self._iovs = addresses(self.to), addresses(self._pieces)

    def headers(self, rows: Table) -> Table:
        """What `send` needs to send these rows, in this order. Stays right when packets or destinations change."""
        table = np.zeros(len(rows), MMSGHDR)
        table["name"], table["name_bytes"] = self._names[rows], SOCKADDR_IN.itemsize
        table["iov"], table["iov_count"] = self._iovs[rows], 1
        return table


def send(fileno: int, headers: Table) -> int:
    """Send all datagrams of a table; how many the machine took. It took less when a buffer of it was full."""
    at, count, done = headers.ctypes.data, len(headers), 0
    while done < count:
        taken = _libc.sendmmsg(fileno, at + done * MMSGHDR.itemsize, count - done, socket.MSG_DONTWAIT)
        if taken < 0:
            code = ctypes.get_errno()
            if code in _FULL:
                break
            raise OSError(code, os.strerror(code))
        done += taken
    return done


class Incoming:
    """Room for one batch: `datagrams` row by row, and of each its length, source and kernel stamp."""

    def __init__(self, size: int = 256, datagram_bytes: int = 256) -> None:
        self.datagrams = np.zeros((size, datagram_bytes), np.uint8)
        self.size = size
        self._sources = np.zeros(size, SOCKADDR_IN)
        self._stamps = np.zeros(size, STAMP)
        pieces = self._pieces = np.zeros(size, IOVEC)
        pieces["base"], pieces["bytes"] = addresses(self.datagrams), datagram_bytes
        table = self._table = np.zeros(size, MMSGHDR)
        table["name"], table["name_bytes"] = addresses(self._sources), SOCKADDR_IN.itemsize
        table["iov"], table["iov_count"] = addresses(pieces), 1
        table["control"], table["control_bytes"] = addresses(self._stamps), STAMP.itemsize
        self._at = table.ctypes.data
        self.lengths = table["bytes"]
        self.ports = self._sources["port"]

    def receive(self, fileno: int) -> int:
        """Take what a socket has, `size` datagrams at most; how many that were. Never waits."""
        count = int(_libc.recvmmsg(fileno, self._at, self.size, socket.MSG_DONTWAIT, None))
        if count < 0:
            code = ctypes.get_errno()
            if code in _FULL:
                return 0
            raise OSError(code, os.strerror(code))
        # The kernel has put in how much of each it used.
        self._table["name_bytes"][:count] = SOCKADDR_IN.itemsize
        self._table["control_bytes"][:count] = STAMP.itemsize
        return count

    def times(self, count: int) -> Table:
        """When the kernel had each of the first `count` datagrams, CLOCK_REALTIME in ns."""
        stamps = self._stamps[:count]
        times: Table = stamps["seconds"] * 1_000_000_000 + stamps["nanoseconds"]
        return times
