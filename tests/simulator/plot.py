"""Draws p95 of the time to the first event, on a scale of powers of ten; plain SVG, light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

from tests.simulator.comparing import Row
from tests.simulator.rules import OURS

LEFT, BAR, GAP, WIDTH, TITLE = 190, 14, 4, 420, 34
LEAST_SECONDS = 0.05
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } .tick { fill: #59636e; font-size: 10px }
.bar { fill: #8c959f } .ours { fill: #0969da } line { stroke: #d1d9e0 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .tick { fill: #9198a1 } .bar { fill: #656c76 } .ours { fill: #4493f8 } line { stroke: #3d444d }
}
</style>"""


def draw(rows: Iterable[Row]) -> str:
    """One group of bars for each workload."""
    rows = list(rows)
    most = max(row.first[1] for row in rows)
    decades = math.ceil(math.log10(most / LEAST_SECONDS))

    def x(seconds: float) -> float:
        return LEFT + WIDTH * math.log10(max(seconds, LEAST_SECONDS) / LEAST_SECONDS) / decades

    parts: list[str] = []
    y = 0
    for workload in dict.fromkeys(row.workload for row in rows):
        y += TITLE
        parts.append(f'<text class="title" x="8" y="{y - 10}">{escape(workload)}</text>')
        top = y
        for row in (each for each in rows if each.workload == workload):
            kind = "bar ours" if row.rule == OURS else "bar"
            parts.append(f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(row.name)}</text>')
            width = max(x(row.first[1]) - LEFT, 1)
            parts.append(f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}"/>')
            parts.append(f'<text class="tick" x="{LEFT + width + 5:.1f}" y="{y + 11}">{row.first[1]:,.2f} s</text>')
            y += BAR + GAP
        for decade in range(decades + 1):
            place = LEFT + WIDTH * decade / decades
            parts.insert(0, f'<line x1="{place:.1f}" y1="{top - 4}" x2="{place:.1f}" y2="{y}"/>')
    size = f'width="{LEFT + WIDTH + 80}" height="{y + 12}" viewBox="0 0 {LEFT + WIDTH + 80} {y + 12}"'
    title = (
        "95th percentile of the seconds to the first event, by rule and workload; each line is ten times the one before"
    )
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{title}">\n{STYLE}\n{body}\n</svg>\n'
