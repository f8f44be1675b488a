"""A curve as an SVG file: axes with numbers, one line, no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 800, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_TICKS = 5


def svg(points: Sequence[tuple[float, float]], title: str, x_label: str, y_label: str) -> str:
    """The picture of two points or more; the vertical axis begins at 0, so that a small slope looks small."""
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    xs, ys = _ticks(x_low, x_high), _ticks(0.0, max(y for _, y in points))
    x_span, y_span = (xs[0], max(xs[-1], x_high)), (ys[0], ys[-1])
    line = " ".join(f"{_x(x, x_span):.1f},{_y(y, y_span):.1f}" for x, y in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, 22, title, "middle", 14),
        *(_vertical(x, _x(x, x_span)) for x in xs),
        *(_horizontal(y, _y(y, y_span)) for y in ys),
        _text(_WIDTH / 2, _HEIGHT - 10, x_label, "middle"),
        f'<g transform="translate(16 {_HEIGHT / 2:.0f}) rotate(-90)">{_text(0, 0, y_label, "middle")}</g>',
        f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about five of them."""
    rough = max(high - low, 1e-9) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * index for index in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _x(value: float, span: tuple[float, float]) -> float:
    return _LEFT + (value - span[0]) / (span[1] - span[0]) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, span: tuple[float, float]) -> float:
    return _HEIGHT - _BOTTOM - (value - span[0]) / (span[1] - span[0]) * (_HEIGHT - _TOP - _BOTTOM)


def _vertical(value: float, x: float) -> str:
    grid = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="#ddd"/>'
    return grid + _text(x, _HEIGHT - _BOTTOM + 18, f"{value:g}", "middle")


def _horizontal(value: float, y: float) -> str:
    grid = f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
    return grid + _text(_LEFT - 8, y + 4, f"{value:g}", "end")


def _text(x: float, y: float, words: str, anchor: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'
