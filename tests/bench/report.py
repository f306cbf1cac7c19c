"""The figures as a table that can be read at a glance, and whether they are what was promised."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from bench.measure import ANNOTATED, CLASSIFIED, PODS, UNCLASSIFIED, Results

LABEL_WIDTH = 40
PLACES = {
    UNCLASSIFIED: "unclassified namespace",
    CLASSIFIED: "classified namespace",
    ANNOTATED: "annotated pod, unclassified namespace",
}
# The ratio to a cluster without policies: what is promised, and what is aimed at.
TARGETS = {
    (UNCLASSIFIED, "small"): (1.05, None),
    (UNCLASSIFIED, "realistic"): (1.05, None),
    (CLASSIFIED, "small"): (1.9, 1.6),
    (CLASSIFIED, "realistic"): (2.1, 1.7),
}
# With all that a classification can ask for, and classifications in every mode.
OF_EVERYTHING = {
    (UNCLASSIFIED, "small"): (1.06, None),
    (UNCLASSIFIED, "realistic"): (1.06, None),
    (CLASSIFIED, "small"): (2.0, None),
    (CLASSIFIED, "realistic"): (2.2, None),
}
FLAT = 1.10
Promises = Mapping[tuple[str, str], tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Target:
    """One promise, and what was measured."""

    text: str
    measured: float
    most: float

    @property
    def met(self) -> bool:
        """Whether it is kept, to the two decimals that are shown."""
        return round(self.measured, 2) <= self.most


def table(results: Results, sizes: Sequence[int]) -> Iterator[str]:
    """Milliseconds and ratios: medians over the rounds, and the middle half of the rounds in brackets."""
    yield _row("", *(f"{name} pod" for name in PODS))
    yield _row("no policies", *(f"{median(results.bare[pod]):.2f} ms" for pod in PODS))
    for place, text in PLACES.items():
        for size in sizes:
            cells = (_cell(results.medians[size, place, pod], results.ratios[size, place, pod]) for pod in PODS)
            yield _row(f"{text}, {size}", *cells)


def targets(results: Results, sizes: Sequence[int], promises: Promises = TARGETS) -> Iterator[Target]:
    """What was promised: of a classified namespace's catalogues the dearest counts.

    What an unclassified one pays has nothing to do with the catalogue: there all rounds count together.
    """
    for (place, pod), (most, aim) in promises.items():
        wish = f", aim {aim:.2f}" if aim else ""
        every = [results.ratios[size, place, pod] for size in sizes]
        measured = (
            median([ratio for ratios in every for ratio in ratios])
            if place == UNCLASSIFIED
            else max(map(median, every))
        )
        yield Target(f"{PLACES[place]}, {pod} pod, over none (at most {most:.2f}{wish})", measured, most)
    for pod in PODS if len(sizes) > 1 else ():
        ratios = [results.ratio(size, CLASSIFIED, pod) for size in sizes]
        text = f"{pod} pod, dearest catalogue over cheapest (at most {FLAT:.2f})"
        yield Target(text, max(ratios) / min(ratios), FLAT)


def verdict(target: Target) -> str:
    """One target as one line."""
    return f"  {'met   ' if target.met else 'MISSED'} {target.measured:5.2f}  {target.text}"


def _cell(medians: list[float], ratios: list[float]) -> str:
    low, middle, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{median(medians):.2f} ms {middle:.2f} [{low:.2f} {high:.2f}]"


def _row(label: str, *cells: str) -> str:
    return f"  {label:<{LABEL_WIDTH}}" + "".join(f"{cell:>26}" for cell in cells)
