"""Putting policies in force on an API server, taking them away, and knowing when that is so."""

import time
from collections.abc import Callable

from e2e.enforcement import PLURALS, SETTINGS, add_namespace, enforce, expect
from keepalive import KeepAlive
from residency.api.names import CANARY, MANAGED_BY
from residency.core.judge import Catalogue
from residency.policy.canary import canary_pod

ABSENT_SECONDS = 30.0


def put_in_force(api: KeepAlive, catalogue: Catalogue) -> float:
    """Apply the policies of a catalogue; the seconds until the canary showed them."""
    start = time.perf_counter()
    enforce(api, catalogue)
    return time.perf_counter() - start


def take_away(api: KeepAlive, is_gone: Callable[[], bool]) -> None:
    """Delete all policies and wait until no pod meets them any more: the canary is let in, and ``is_gone``."""
    for plural in PLURALS.values():
        path = f"/apis/admissionregistration.k8s.io/v1/{plural}?labelSelector={MANAGED_BY}%3Dresidency"
        expect(api.send("DELETE", path), 200)
    add_namespace(api, SETTINGS.canary_namespace, CANARY)
    path = f"/api/v1/namespaces/{SETTINGS.canary_namespace}/pods?dryRun=All"
    deadline = time.monotonic() + ABSENT_SECONDS
    while api.send("POST", path, canary_pod()).status != 201 or not is_gone():
        if time.monotonic() > deadline:
            raise TimeoutError(f"policies that were deleted still work after {ABSENT_SECONDS:.0f} s")
        time.sleep(0.02)
