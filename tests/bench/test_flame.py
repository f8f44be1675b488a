"""Stacks become boxes of the right width, at the right height."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from tests.bench.flame import ROW, WIDTH, read, svg

STACKS = [
    "<module> (bridge/__main__.py:7);run (a.py:1);read (bridge/media/endpoint.py:10) 60",
    "<module> (bridge/__main__.py:7);run (a.py:2);read (bridge/media/endpoint.py:12);<sum> (b.py:3) 20",
    "<module> (bridge/__main__.py:7);run (a.py:3) 20",
]
NAMESPACE = "{http://www.w3.org/2000/svg}"


def test_lines_of_one_function_are_one_box_and_starting_is_none() -> None:
    root = read(STACKS)
    (run,) = root.called.values()
    assert (root.samples, run.samples, list(run.called)) == (100, 100, ["read (bridge/media/endpoint.py)"])
    assert run.called["read (bridge/media/endpoint.py)"].samples == 80


def test_widths_are_shares_and_callees_stand_above() -> None:
    picture = ElementTree.fromstring(svg(read(STACKS), "two & three"))
    boxes = {group[0].text: group[1].attrib for group in picture.iter(f"{NAMESPACE}g")}
    assert list(boxes) == ["run (a.py) 100.0 %", "read (bridge/media/endpoint.py) 80.0 %", "<sum> (b.py) 20.0 %"]
    widths = [float(box["width"]) / WIDTH for box in boxes.values()]
    assert widths == [1.0, 0.8, 0.2]
    heights = [int(box["y"]) for box in boxes.values()]
    assert heights == [heights[0], heights[0] - ROW, heights[0] - 2 * ROW]
    assert picture.findtext(f"{NAMESPACE}text") == "two & three"
