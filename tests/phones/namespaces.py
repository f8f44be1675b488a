"""Two hosts on one machine: network namespaces with nothing between them but a bad line, a router in this process.

Each namespace has a TUN device with one address; what the kernel sends there is read here, spoilt by `relay.Way` (RTP
only: calls shall come about) and written to the other device. Nothing is left behind: namespaces without a name live
as long as somebody holds them open. Needs Linux, root and /dev/net/tun. Knows nothing of `bridge`.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Self

from .relay import Profile, Way, is_rtp

NEAR, FAR = "10.77.0.1", "10.77.0.2"
_NETMASK = "255.255.255.0"
_DEVICE = b"line"
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _TUN_WITHOUT_HEADER = 0x400454CA, 0x1001
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
_UP = 1
_UDP = 17
_OWN = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


class NoNamespaces(Exception):
    """This machine does not let us make them; the text says why."""


def udp_payload(packet: bytes) -> bytes:
    """What an IPv4 packet carries as UDP; nothing when it carries anything else."""
    if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != _UDP:
        return b""
    return packet[4 * (packet[0] & 15) + 8 :]


def carries_rtp(packet: bytes) -> bool:
    """Whether an IP packet is an RTP packet."""
    return is_rtp(udp_payload(packet))


class TwoHosts:
    """`with TwoHosts(up, down, seed=1) as hosts, hosts.at(NEAR): ...` makes this thread's new sockets those of a host.

    `up` leads from FAR to NEAR, `down` from NEAR to FAR; their datagrams are whole IP packets. NoNamespaces when this
    machine does not allow it.
    """

    def __init__(self, up: Profile | None = None, down: Profile | None = None, *, seed: int = 1) -> None:
        self.up = Way(up or Profile(), seed, carries_rtp)
        self.down = Way(down or Profile(), seed + 1, carries_rtp)
        self._hosts: dict[str, int] = {}
        self._devices: dict[str, int] = {}
        self._stopping = threading.Event()
        self._router = threading.Thread(target=self._route, name="router", daemon=True)

    def __enter__(self) -> Self:
        try:
            for address in (NEAR, FAR):
                self._hosts[address] = _new_namespace()
                with self.at(address):
                    self._devices[address] = _new_device(address)
        except OSError as error:
            self._close()
            raise NoNamespaces(f"no network namespaces here: {error} (root and /dev/net/tun are needed)") from None
        self._router.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._router.join()
        self._close()

    def _close(self) -> None:
        for descriptor in (*self._devices.values(), *self._hosts.values()):
            os.close(descriptor)

    @contextlib.contextmanager
    def at(self, address: str) -> Iterator[None]:
        """Let this thread be on that host: the sockets, children and threads that it makes meanwhile live there."""
        own = os.open(_OWN, os.O_RDONLY)
        try:
            _enter(self._hosts[address])
            try:
                yield
            finally:
                _enter(own)
        finally:
            os.close(own)

    def _route(self) -> None:
        ways = (
            (self._devices[FAR], self.up, self._devices[NEAR]),
            (self._devices[NEAR], self.down, self._devices[FAR]),
        )
        while not self._stopping.is_set():
            deadlines = [way.next_deadline for _, way, _ in ways if way.next_deadline is not None]
            wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else 0.05
            ready, _, _ = select.select([device for device, _, _ in ways], [], [], min(wait, 0.05))
            for device, way, out in ways:
                if device in ready:
                    _read(device, way)
                for packet in way.due(time.monotonic()):
                    with contextlib.suppress(OSError):  # the other side has gone
                        os.write(out, packet)


def _read(device: int, way: Way) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            way.receive(os.read(device, 65535), time.monotonic())


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns: " + os.strerror(ctypes.get_errno()))


def _new_namespace() -> int:
    """A descriptor that keeps a new namespace alive; its loopback is up."""
    own = os.open(_OWN, os.O_RDONLY)
    try:
        if _libc.unshare(_CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare: " + os.strerror(ctypes.get_errno()))
        try:
            namespace = os.open(_OWN, os.O_RDONLY)
            _set_up(b"lo")
        finally:
            _enter(own)
    finally:
        os.close(own)
    return namespace


def _new_device(address: str) -> int:
    """A TUN device with that address in the namespace of this thread; what is read from it are IP packets."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", _DEVICE, _TUN_WITHOUT_HEADER))
        _set(_SIOCSIFADDR, address)
        _set(_SIOCSIFNETMASK, _NETMASK)
        _set_up(_DEVICE)
    except OSError:
        os.close(device)
        raise
    return device


def _set(what: int, address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sHH4s16x", _DEVICE, socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(control, what, request)


def _set_up(device: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", device, 0))
        _, flags = struct.unpack("16sH22x", request)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", device, flags | _UP))
