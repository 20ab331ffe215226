"""Draws bars with their spread, and lines, as SVG: no library, no script, readable on a light page and on a dark one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from tests.performance.figures import Spread

WIDTH = 720
ROW = 26
LEFT = 150
RIGHT = 190
TOP = 44
HEIGHT = 320
BOTTOM = 46
COLOURS = ("#2f6fb0", "#c8553d", "#3c8d5a", "#8a5fb0", "#b08a2f", "#2f9a9a", "#b03f7a", "#6b7280", "#7a5c3c", "#4a6a8a")
STYLE = (
    "text{font:13px sans-serif;fill:#222}.title{font-weight:600}.faint{stroke:#999;stroke-width:.6}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}}"
)


def bars(title: str, rows: Sequence[tuple[str, Spread]], unit: str, digits: int = 0) -> str:
    """A bar a row from one end of its spread's axis; logarithmic, because gateways differ by a thousand."""
    shown = [(name, spread) for name, spread in rows if spread.middle > 0 and math.isfinite(spread.high)]
    if not shown:
        return ""
    scale = _Scale(
        min(max(spread.low, spread.middle / 10) for _, spread in shown) / 2,
        max(spread.high for _, spread in shown),
        LEFT,
        WIDTH - RIGHT,
        logarithmic=True,
    )
    height = TOP + ROW * len(shown) + 12
    parts = [_text(12, 22, f"{title}; logarithmic", "title")]
    for number, (name, spread) in enumerate(shown):
        y = TOP + ROW * number
        colour = COLOURS[0] if name.startswith("moegate") else COLOURS[7]
        end = scale.at(spread.middle)
        parts.append(_text(LEFT - 8, y + 13, name, anchor="end"))
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{max(end - LEFT, 1):.1f}" height="18" fill="{colour}" fill-opacity=".75"/>'
        )
        low, high = scale.at(max(spread.low, scale.low)), scale.at(spread.high)
        parts.append(_line(low, y + 9, high, y + 9, "#555", 1.6))
        parts.append(_text(max(end, high) + 6, y + 13, f"{spread.text(digits)} {unit}"))
    return _svg(height, parts)


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], axes: "Axes") -> str:
    """A line a name, with a mark at each point where there are few of them."""
    points = [point for each in series.values() for point in each]
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    across = _Scale(min(xs), max(xs), LEFT - 70, WIDTH - RIGHT, logarithmic=axes.logarithmic)
    # From nothing, so that a line that looks flat is flat.
    up = _Scale(0.0, max(ys) * 1.08 or 1.0, HEIGHT - BOTTOM, TOP, logarithmic=False)
    parts = [_text(12, 22, title, "title")]
    for tick in _ticks(up.high):
        parts.append(_line(LEFT - 70, up.at(tick), WIDTH - RIGHT, up.at(tick), "#999", 0.5))
        parts.append(_text(LEFT - 76, up.at(tick) + 4, f"{tick:,g}", anchor="end"))
    below = sorted(set(xs)) if axes.logarithmic else [tick for tick in _ticks(max(xs)) if tick >= min(xs)]
    parts += [_text(across.at(tick), HEIGHT - BOTTOM + 18, f"{tick:,g}", anchor="middle") for tick in below]
    parts.append(_text((LEFT - 70 + WIDTH - RIGHT) / 2, HEIGHT - 8, axes.across, anchor="middle"))
    parts.append(_text(WIDTH - RIGHT + 8, TOP - 8, axes.up))
    for number, (name, each) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in each)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        if len(each) <= FEW:
            parts += [f'<circle cx="{across.at(x):.1f}" cy="{up.at(y):.1f}" r="3" fill="{colour}"/>' for x, y in each]
        y = TOP + 14 + 18 * number
        parts.append(_line(WIDTH - RIGHT + 8, y - 4, WIDTH - RIGHT + 26, y - 4, colour, 3))
        parts.append(_text(WIDTH - RIGHT + 32, y, name))
    return _svg(HEIGHT, parts)


FEW = 20


@dataclass(frozen=True)
class Axes:
    """What the axes of a chart are called, and whether the lower one is logarithmic."""

    across: str
    up: str
    logarithmic: bool = False


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def at(self, value: float) -> float:
        """Where on the page a value is."""
        turn = math.log if self.logarithmic else float
        span = turn(self.high) - turn(self.low)
        share = (turn(value) - turn(self.low)) / span if span else 0.5
        return self.start + share * (self.end - self.start)


def _ticks(high: float) -> list[float]:
    """Three to six round numbers from nothing up to the highest."""
    step = 10 ** math.floor(math.log10(high)) if high > 0 else 1.0
    step = next(each for each in (step / 5, step / 2, step, step * 2) if high / each <= MOST_TICKS)
    return [number * step for number in range(int(high / step) + 1)]


MOST_TICKS = 6


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'


def _svg(height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" role="img">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>"]) + "\n"
