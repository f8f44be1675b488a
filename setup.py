"""Builds sipbridge; with SIPBRIDGE_COMPILE=1 what runs for every packet becomes machine code.

The same source, translated by mypyc: numbers then lie in their objects, not each in a place of its own that no cache
holds when hundreds of calls run (docs/performance.md). Needs a C compiler, Python's headers and mypy.
"""

import os

from setuptools import setup

MEDIA = """concealment control drift endpoint incoming item jitter keypad outgoing pacer playout
    reception reports rtp source stats stream timeline"""
REALTIME = """budget debt faults frame_ends protocol session text_frame transcript transcript_slot uplink
    openai/caller_turns openai/conversation openai/messages openai/outbox openai/protocol openai/reactions
    openai/response_slot openai/tallies openai/tool_calls"""
COMPILED = [f"bridge/media/{name}.py" for name in MEDIA.split()] + [
    f"bridge/realtime/{name}.py" for name in REALTIME.split()
]


def extensions() -> list:
    """None, unless they are wanted."""
    if os.environ.get("SIPBRIDGE_COMPILE") != "1":
        return []
    from mypyc.build import mypycify

    # Not by this project's strict rules, which `make check` sees to: here the packages that we use may be missing.
    return mypycify(["--config-file=", "--ignore-missing-imports", *COMPILED])


setup(ext_modules=extensions())
