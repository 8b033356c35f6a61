"""Bars of every cell: acknowledgements a second, and the p99, on logarithmic axes."""

import math

from beside.goals import median
from beside.grid import CELLS, SYSTEMS

COLOURS = dict(zip(SYSTEMS, ("#1f5fa8", "#b03030", "#e0a0a0", "#2b7a3f", "#a0cfae")))
BAR, GAP, HEIGHT, LEFT, TOP = 12, 14, 220, 70, 50
PANELS = [
    ("acknowledgements a second", lambda row: row["acks_per_second"]),
    ("p99, ms", lambda row: row["latency_ms"]["p99"]),
]


def draw(found, names):
    width = LEFT + sum(len(cell.systems) * BAR + GAP for cell in CELLS) + 20
    height = len(PANELS) * (HEIGHT + TOP) + 90
    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="white"/>']
    for at, system in enumerate(SYSTEMS):
        x = LEFT + at * 150
        svg.append(f'<rect x="{x}" y="10" width="10" height="10" fill="{COLOURS[system]}"/>'
                   f'<text x="{x + 14}" y="19">{names[system]}</text>')
    for at, (title, figure) in enumerate(PANELS):
        svg += panel(found, title, figure, TOP + at * (HEIGHT + TOP), width)
    svg += cell_names(TOP + len(PANELS) * (HEIGHT + TOP) - TOP + 12)
    return "\n".join(svg) + "\n</svg>\n"


def panel(found, title, figure, top, width):
    def value(cell, system):
        rows = [one["row"] for key, one in found.items() if key[:2] == (cell.name, system)]
        return median([figure(row) for row in rows if not row["void"]])
    values = {(cell.name, system): value(cell, system) for cell in CELLS for system in cell.systems}
    shown = [math.log10(one) for one in values.values() if one]
    if not shown:
        return
    low = math.floor(min(shown))
    high = max(math.ceil(max(shown)), low + 1)
    y = lambda power: top + HEIGHT - (power - low) / (high - low) * HEIGHT
    yield f'<text x="{LEFT}" y="{top - 8}" font-size="13">{title}</text>'
    for power in range(low, high + 1):
        yield (f'<line x1="{LEFT}" x2="{width - 10}" y1="{y(power):.1f}" y2="{y(power):.1f}" '
               f'stroke="#ddd"/><text x="{LEFT - 6}" y="{y(power) + 4:.1f}" '
               f'text-anchor="end">{10.0 ** power:g}</text>')
    x = LEFT + GAP
    for cell in CELLS:
        for system in cell.systems:
            one = values[cell.name, system]
            if one:
                at = y(math.log10(one))
                yield (f'<rect x="{x}" y="{at:.1f}" width="{BAR - 1}" '
                       f'height="{top + HEIGHT - at:.1f}" fill="{COLOURS[system]}"/>')
            x += BAR
        x += GAP


def cell_names(top):
    x = LEFT + GAP
    for cell in CELLS:
        middle = x + len(cell.systems) * BAR / 2
        yield (f'<text x="{middle:.0f}" y="{top}" text-anchor="end" '
               f'transform="rotate(-35 {middle:.0f} {top})">{cell.name}</text>')
        x += len(cell.systems) * BAR + GAP
