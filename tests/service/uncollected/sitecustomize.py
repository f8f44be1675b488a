"""For a process whose PYTHONPATH leads here: no collection of cycles, and at SIGUSR1 a look at what one would find.

The file that UNCOLLECTED names gets one line of JSON more each time: `cycles` counts what only the collector would
free, `alive` what somebody still holds, both by type; what was found is freed then.
"""

import gc
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any

collect, unfreeze = gc.collect, gc.unfreeze


def by_type(things: Iterable[object]) -> Counter[str]:
    """How many there are of each type."""
    return Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in things)


def look(*_: Any) -> None:
    """Write what there is."""
    unfreeze()
    before = by_type(gc.get_objects())
    collect()
    after = by_type(gc.get_objects())
    # Not `gc.garbage`: it leaves out what a suspended generator held, which is freed once the collector has closed it.
    cycles = before - after
    for untracked in ("builtins.tuple", "builtins.dict"):  # that hold no containers are only not looked at again
        del cycles[untracked]
    with open(os.environ["UNCOLLECTED"], "a") as file:
        file.write(json.dumps({"cycles": cycles, "alive": after}) + "\n")


if "serve" in sys.orig_argv:
    gc.disable()
    gc.collect = lambda generation=2: 0
    gc.freeze = gc.enable = lambda: None
    signal.signal(signal.SIGUSR1, look)
