"""The child's side of worker.py: reads requests until the parent is gone."""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from bridge.agent.worker import LENGTHS, frame

Answer = Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]


def serve(answer: Answer) -> None:
    """Answer requests from standard input on standard output. Ends at once with the parent, also in mid-work."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the service, which lets its calls finish first
        signal.signal(number, signal.SIG_IGN)
    # Frames alone use the real standard output: what a library prints goes to standard error.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests: queue.SimpleQueue[tuple[dict[str, Any], bytes]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, requests.put), daemon=True).start()
    while True:
        header, payload = requests.get()
        reply = ({}, b"") if header.get("do") == "nothing" else answer(header, payload)
        out.write(frame(*reply))
        out.flush()


def _read(source: BinaryIO, put: Callable[[tuple[dict[str, Any], bytes]], None]) -> None:
    """Requests into the queue. The end of the pipe is the end of the parent: leave without ceremony."""
    while True:
        lengths = source.read(LENGTHS.size)
        if len(lengths) < LENGTHS.size:
            os._exit(0)
        head, body = LENGTHS.unpack(lengths)
        header = json.loads(source.read(head))
        put((header, source.read(body)))
