"""A flame graph as a plain picture, from stacks that py-spy has written: no scripts in it.

    py-spy record -p PID -d 10 -r 500 -f raw -o stacks.txt
    python -m tests.bench.flame stacks.txt "200 calls" > picture.svg

Each box is a function; its width is its share of the samples, what it called stands above it. Functions of sipbridge
are dark, those of libraries light.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, ROW = 1600, 17
"""Pixels of the picture, and of a box's height."""
LEAST = 0.001
"""Share of the samples below which a box is not drawn."""
_LETTER = 6.2
_OURS, _OTHERS = "#d9822b", "#f2d3a8"
_SKIPPED = (
    "_run_module_as_main",
    "_run_code",
    "<module>",
    "Typer",
    "Command",
    "Context",
    "_main (typer",
    "get_callback",
)


@dataclass(slots=True)
class Box:
    """A function where it was called from there: samples in it and in what it called."""

    samples: int = 0
    called: dict[str, Box] = field(default_factory=dict)


def read(lines: Iterable[str]) -> Box:
    """The tree of all stacks: each line has functions with semicolons between, outermost first, and a count."""
    root = Box()
    for line in lines:
        stack, _, count = line.strip().rpartition(" ")
        box = root
        box.samples += int(count)
        for name in filter(None, map(_function, stack.split(";"))):
            box = box.called.setdefault(name, Box())
            box.samples += int(count)
    return root


def _function(frame: str) -> str:
    """Without the line, which would make a box for each; empty for how a program is started."""
    name, _, _ = frame.strip().rpartition(":")
    name = name + ")" if name.count("(") > name.count(")") else name
    return "" if not name or name.startswith(_SKIPPED) else name


def svg(root: Box, title: str) -> str:
    """The picture."""
    boxes = [(depth, left, wide, name) for depth, left, wide, name in _placed(root, 1, 0.0, root.samples)]
    rows = max((depth for depth, *_ in boxes), default=0) + 1
    drawn = "\n".join(_drawn(rows - depth, left, wide, name) for depth, left, wide, name in boxes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {(rows + 1) * ROW}"'
        f' font-family="monospace" font-size="10">\n<text x="4" y="12" font-size="12">{escape(title)}</text>\n'
        f"{drawn}\n</svg>\n"
    )


def _placed(box: Box, depth: int, left: float, whole: int) -> Iterator[tuple[int, float, float, str]]:
    for name, inner in sorted(box.called.items()):
        wide = inner.samples / whole
        if wide >= LEAST:
            yield depth, left, wide, name
            yield from _placed(inner, depth + 1, left, whole)
        left += wide


def _drawn(row: int, left: float, wide: float, name: str) -> str:
    x, width = left * WIDTH, wide * WIDTH
    colour = _OURS if "(bridge/" in name else _OTHERS
    label = escape(name.split(" (")[0][: int(width / _LETTER)]) if width > 3 * _LETTER else ""
    text = f'<text x="{x + 2:.1f}" y="{row * ROW + 12}">{label}</text>' if label else ""
    told = escape(f"{name} {100 * wide:.1f} %")
    place = f'x="{x:.1f}" y="{row * ROW}" width="{width:.1f}" height="{ROW - 1}"'
    return f'<g><title>{told}</title><rect {place} fill="{colour}" stroke="white" stroke-width="0.3"/>{text}</g>'


if __name__ == "__main__":
    sys.stdout.write(svg(read(Path(sys.argv[1]).read_text().splitlines()), sys.argv[2]))
