"""``python -m bench.picture FIGURES PICTURE``: how the audit's figures grow with the cluster, drawn as SVG."""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from bench.figures import PROMISES, Figures, Machine

COLUMNS: Final = 3
WIDTH, HEIGHT = 300, 210
"""Of one panel."""
LEFT, RIGHT, TOP, BOTTOM = 18, 40, 62, 34
"""What is around the drawing within a panel."""
HEAD, FOOT = 54, 30
CROWDED: Final = 22
"""So little below a target there is no room for a figure above its dot."""
HEADROOM: Final = 1.12

SUBTITLE: Final = (
    "One controller, on a real API server and etcd; pods to the right. Dashed: the target for the largest cluster."
)
STYLE: Final = """\
  text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; font-size: 12px; fill: #24292f }
  .title { font-size: 15px; font-weight: 600 } .name { font-weight: 600 } .small { font-size: 11px; fill: #57606a }
  .value { paint-order: stroke; stroke: #ffffff; stroke-width: 4px }
  .paper { fill: #ffffff } .axis { stroke: #8c959f; stroke-width: 1 }
  .line { fill: none; stroke: #0969da; stroke-width: 2 } .dot { fill: #0969da }
  .target { stroke: #cf222e; stroke-width: 1.2; stroke-dasharray: 5 4 } .aim { font-size: 11px; fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .value { stroke: #0d1117 }
    .small { fill: #9198a1 } .paper { fill: #0d1117 } .axis { stroke: #656c76 }
    .line { stroke: #4493f8 } .dot { fill: #4493f8 } .target { stroke: #f85149 } .aim { fill: #f85149 }
  }"""


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure as it grows."""

    name: str
    value: Callable[[Figures], float]
    form: str
    target: float | None = None


PANELS: Final = (
    Panel("Start to first complete verdict", lambda f: f.first_verdict_s, "{:.1f} s"),
    Panel("Resident memory", PROMISES[0].value, "{:.0f} MB", PROMISES[0].most),
    Panel("CPU per pod event", PROMISES[1].value, "{:.3f} ms", PROMISES[1].most),
    Panel("Node relabelled to metric, at most", PROMISES[2].value, "{:.2f} s", PROMISES[2].most),
    Panel("Node relabelled to findings, at most", PROMISES[3].value, "{:.2f} s", PROMISES[3].most),
    Panel("A scrape, at most", PROMISES[4].value, "{:.3f} s", PROMISES[4].most),
)


def picture(figures: Sequence[Figures], machine: Machine) -> str:
    """Draw one panel for each figure, pods to the right, both axes from 0."""
    rows = -(-len(PANELS) // COLUMNS)
    width, height = COLUMNS * WIDTH, HEAD + rows * HEIGHT + FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(_spoken(figures))}">',
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        _text(LEFT, 26, "What the audit costs as a cluster grows", "title"),
        _text(LEFT, 44, SUBTITLE, "small"),
    ]
    for number, panel in enumerate(PANELS):
        x, y = number % COLUMNS * WIDTH, HEAD + number // COLUMNS * HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *_panel(panel, figures), "</g>"]
    parts += [_text(LEFT, height - 10, str(machine), "small"), "</svg>"]
    return "\n".join(parts) + "\n"


def _panel(panel: Panel, figures: Sequence[Figures]) -> Iterator[str]:
    values = [panel.value(some) for some in figures]
    across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    bottom = TOP + up
    x_scale = across / max(some.pods for some in figures)
    y_scale = up / (max(*values, panel.target or 0.0) * HEADROOM or 1.0)
    points = [
        (LEFT + some.pods * x_scale, bottom - value * y_scale) for some, value in zip(figures, values, strict=True)
    ]
    yield _text(LEFT, 24, panel.name, "name")
    yield f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{LEFT + across}" y2="{bottom}"/>'
    if panel.target is not None:
        y = bottom - panel.target * y_scale
        yield f'<line class="target" x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + across}" y2="{y:.1f}"/>'
        # Below its line where what was measured of smaller clusters passes just above.
        passed = any(x < LEFT + across / 2 and 0 <= y - at < 2 * CROWDED for x, at in points)
        yield _text(LEFT, y + 14 if passed else y - 5, f"target {panel.form.format(panel.target)}", "aim")
    yield f'<polyline class="line" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'
    for (x, y), some, value in zip(points, figures, values, strict=True):
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
        crowded = panel.target is not None and 0 <= y - (bottom - panel.target * y_scale) < CROWDED
        yield _text(x, y + 18 if crowded else y - 8, panel.form.format(value), "value", "middle")
        yield _text(x, bottom + 16, f"{some.pods / 1000:g}k", "small", "middle")


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _spoken(figures: Sequence[Figures]) -> str:
    """The same for who cannot see it."""
    return "; ".join(
        f"{some.pods} pods: " + ", ".join(f"{panel.name} {panel.form.format(panel.value(some))}" for panel in PANELS)
        for some in figures
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read figures, write a picture."""
    parser = argparse.ArgumentParser(prog="python -m bench.picture", description=__doc__)
    parser.add_argument("figures", type=Path, help="what python -m bench.scale --out has written")
    parser.add_argument("picture", type=Path, help="where to write the SVG")
    options = parser.parse_args(arguments)
    document = json.loads(options.figures.read_text())
    figures = [Figures(**some) for some in document["figures"]]
    options.picture.write_text(picture(figures, Machine(**document["machine"])))


if __name__ == "__main__":
    main()
