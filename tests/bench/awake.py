"""Keeps a core from falling asleep: computes while nobody else wants it, and gives way to everybody at once.

A service that is mostly idle pays for every wake-up of its core, on a virtual machine as much as for the work itself,
and how much depends on the host's mood. With this beside it, its CPU time is that of its work.
"""

from __future__ import annotations

import os


def run() -> None:
    """Compute for ever, in the class of processes that run only when no other does. Needs no rights."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass


if __name__ == "__main__":
    run()
