"""A worker of the tests: answers, dies or hangs as it is told."""

from __future__ import annotations

import os
import time
from typing import Any

from bridge.agent.worker_loop import serve


def answer(header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    match header["do"]:
        case "die":
            os._exit(3)
        case "die once" if not os.path.exists(header["mark"]):
            open(header["mark"], "w").close()
            os._exit(3)
        case "hang":
            time.sleep(1000)
        case "print":
            print("this is no frame")
            os.write(1, b"nor is this")
    return {"pid": os.getpid()}, payload[::-1]


if __name__ == "__main__":
    serve(answer)
