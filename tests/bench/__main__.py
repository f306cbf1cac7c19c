"""``python -m bench``: what Residency adds to the creation of a pod, measured on a real API server."""

import argparse
import json
import sys
import time
from collections.abc import Sequence

from bench.catalogues import catalogue, everything
from bench.measure import CLASSIFIED, NONE, PODS, Bench, Unexpected
from bench.report import OF_EVERYTHING, table, targets, verdict
from controlplane import ControlPlane, ControlPlaneError
from e2e.enforcement import SETTINGS
from keepalive import KeepAlive
from residency.policy.cel import DoesNotFit
from residency.policy.compile import compile_policies

SIZES = (1, 10, 60)
EVERYTHING = 12
LARGE = (200, 1000)
INTRODUCTION = """\
POST pods?dryRun=All over one kept-alive connection to each of two API servers, one with policies, one without.
{sizes}; {rounds} rounds, in each {requests} requests a figure on either server; every answer is checked.

Milliseconds, ratio to no policies, and the middle half of the rounds' ratios, with 1, 10 and 60 classifications:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where a target was missed."""
    options = _parser().parse_args(arguments)
    try:
        with (
            _api_server() as one,
            _api_server() as other,
            KeepAlive(one.kubeconfig) as first,
            KeepAlive(other.kubeconfig) as second,
        ):
            return _run(Bench((first, second), options.requests), options.rounds, options.requests)
    except (ControlPlaneError, Unexpected) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, metavar="N", help="rounds (8; 2 for a quick look)")
    parser.add_argument("--requests", type=int, default=60, metavar="N", help="requests a figure and visit (60)")
    return parser


def _api_server() -> ControlPlane:
    return ControlPlane(controller_manager=False, scheduler=False, kwok=False)


def _run(bench: Bench, rounds: int, requests: int) -> int:
    sizes = ", ".join(f"{name} pod {_size(pod) / 1000:.1f} KB" for name, pod in PODS.items())
    print(INTRODUCTION.format(sizes=sizes, rounds=rounds, requests=requests), flush=True)
    results = bench.run(SIZES, rounds, _progress)
    print("\n".join(table(results, SIZES)))
    found = list(targets(results, SIZES))
    print("\nTargets:\n", *map(verdict, found), sep="\n", flush=True)
    whole = bench.run((EVERYTHING,), rounds, _progress, everything)
    print(f"\nEverything switched on: {EVERYTHING} classifications in all three modes that ask something of storage:\n")
    print("\n".join(table(whole, (EVERYTHING,))))
    found += targets(whole, (EVERYTHING,), OF_EVERYTHING)
    print(*map(verdict, found[-len(OF_EVERYTHING) :]), "\nLarge catalogues:\n", sep="\n", flush=True)
    for size in LARGE:
        print(f"  {size:>4} classifications: {_large(bench, size)}", flush=True)
    return 0 if all(target.met for target in found) else 1


def _large(bench: Bench, size: int) -> str:
    """What becomes of a catalogue of this size: in force, or the words of the condition."""
    policies = catalogue(size)
    start = time.perf_counter()
    try:
        compiled = compile_policies(policies, SETTINGS)
    except DoesNotFit as problem:
        return f"refused, what was in force stays: {problem}"
    seconds = time.perf_counter() - start
    waited = bench.enforce(policies)
    medians = {(way.place, way.pod): median for way, median in bench.visit(policies).items()}
    bench.clear()
    ratios = ", ".join(f"{pod} pod {medians[CLASSIFIED, pod] / medians[NONE, pod]:.2f}" for pod in PODS)
    largest = max(map(_size, compiled.objects))
    return (
        f"compiled in {seconds:.2f} s to {compiled.size / 1e6:.1f} MB, the largest object {largest / 1e6:.2f} MB; "
        f"in force after {waited:.1f} s; classified over none: {ratios}"
    )


def _size(thing: object) -> int:
    return len(json.dumps(thing, separators=(",", ":")))


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text} ...", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
