"""What a call costs, against the calibration loop measured beside it: it must not creep up unseen."""

from __future__ import annotations

import os

import pytest

from tests.bench import ratio
from tests.bench.rig import Setting

ALLOWED = 1.25


@pytest.mark.alone
def test_a_call_costs_no_more_than_is_on_record() -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("service and load need a core each")
    known = ratio.recorded()
    if known is None:
        pytest.skip("nothing on record for this processor: python -m tests.bench --record-ratio")
    found = ratio.measure(Setting(service_core=cores[0], load_cores=(cores[1],)))
    print(f"\non record {known:.2f}; {found}")
    if found.noisy:
        pytest.skip(f"others used {found.foreign:.1f} cores meanwhile; the ratio was {found.ratio:.2f}")
    assert found.ratio <= ALLOWED * known, "if it is meant: python -m tests.bench --record-ratio"
