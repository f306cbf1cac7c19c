"""What is said of the correction of misplaced pods in the status of a DataClassification: pure."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from residency.api.names import EvictionResult, EvictionState
from residency.audit.eviction import MOST_RELAPSES, Order, Summary, Workload
from residency.reporting.status import MESSAGE_LENGTH, PODS_SHOWN, Json

Says = tuple[EvictionState, str]

LOWER_MODE: Final[Says] = (
    EvictionState.LOWER_MODE,
    "Nothing is evicted for a classification that does not enforce: pods would only come back.",
)
NOT_IN_FORCE: Final[Says] = (
    EvictionState.SUSPENDED,
    "Nothing is evicted while this is not Ready: pods might come back where they were.",
)
NOT_OBSERVED: Final[Says] = (
    EvictionState.SUSPENDED,
    "Nothing is evicted while pods, nodes and namespaces are not all watched.",
)
NOT_PERMITTED: Final[Says] = (
    EvictionState.NOT_PERMITTED,
    "The controller may not evict pods. Set eviction.enabled=true in the chart's values, or runningPods: Report here.",
)


def eviction_json(order: Order, summary: Summary | None, withheld: Says | None) -> Json:
    """Write ``status.eviction``; ``withheld`` is why nothing is evicted, whatever there is to be evicted."""
    state, message = withheld or _says(order, summary)
    written: Json = {"state": str(state), "message": message[:MESSAGE_LENGTH]}
    if order.dry_run:
        written["dryRun"] = True
    if summary is not None and summary.results:
        written["results"] = results_json(sorted(summary.results.items()))
    if summary is not None and summary.last is not None:
        written["lastEvictionTime"] = datetime.fromtimestamp(summary.last, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return written


def results_json(counts: Iterable[tuple[EvictionResult, int]]) -> list[Json]:
    """Write how many pods there are by what came of looking at them; as the custom resources have it."""
    return [{"result": str(result), "count": count} for result, count in counts]


def _says(order: Order, summary: Summary | None) -> Says:
    if summary is None or not (summary.misplaced or summary.halted):
        return EvictionState.IDLE, "No pod is misplaced where this is enforced."
    if summary.halted:
        return EvictionState.HALTED, _halted(summary) + _left(summary)
    if summary.held_by:
        why = f"Nothing more is evicted while the replacements of {_named(summary.held_by)} wait for nodes."
        return EvictionState.BLOCKED, why + _left(summary)
    if summary.hopeless:
        return EvictionState.BLOCKED, f"{_misplaced(summary)}, and none can be evicted now.{_left(summary)}"
    if order.dry_run:
        count = summary.results.get(EvictionResult.WOULD_EVICT, 0)
        why = f"Dry run: {_misplaced(summary)}; of those looked at so far {count} would be evicted."
        return EvictionState.EVICTING, why + _left(summary)
    return EvictionState.EVICTING, (
        f"{_misplaced(summary)}, and at most {order.max_per_minute} a minute are evicted.{_left(summary)}"
    )


def _halted(summary: Summary) -> str:
    what = "Nothing more is evicted" if summary.stopped else f"Nothing more of {_named(summary.halted)} is evicted"
    whom = f" of {_named(summary.halted)}" if summary.stopped else ""
    return (
        f"{what}: {MOST_RELAPSES} pods{whom} made since the first eviction were misplaced again, or nothing came in "
        "the place of one. See what binds or refuses them, or changes their nodes; it goes on when that, the workload "
        "or this classification has changed."
    )


def _left(summary: Summary) -> str:
    if not summary.examples:
        return ""
    return (
        " For example: " + "; ".join(f"{namespace}/{pod} ({why})" for (namespace, pod), why in summary.examples) + "."
    )


def _misplaced(summary: Summary) -> str:
    return f"{summary.misplaced} pod{' is' if summary.misplaced == 1 else 's are'} misplaced"


def _named(workloads: Iterable[Workload]) -> str:
    names = ["/".join(workload) for workload in workloads]
    more = f" and {len(names) - PODS_SHOWN} more" if len(names) > PODS_SHOWN else ""
    return ", ".join(names[:PODS_SHOWN]) + more
