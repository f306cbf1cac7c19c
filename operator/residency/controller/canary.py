"""Seeing that the compiled policies are in force, at every API server that can be reached.

Each API server has caches of its own, which follow what is written by up to a second. So each is asked, as a
dry run, for a pod that must be refused, and has to answer with the revision that was compiled.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from residency.cluster.client import Client
from residency.cluster.endpoints import api_servers
from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.resources import PODS
from residency.policy.canary import Seen, canary_pod, seen

log = logging.getLogger(__name__)

PATIENCE: Final = 10.0
"""Seconds to wait for all API servers to follow."""
PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.5
"""Seconds between questions: at first few, then more, because an API server that is busy compiling is asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one API server said to the canary."""

    address: str
    seen: Seen | None = None
    said: str = ""
    reached: bool = True

    def proves(self, revision: str) -> bool:
        """Whether guard and placement are both of this revision there."""
        return self.seen == Seen(guard=revision, placer=revision)

    def __str__(self) -> str:
        if self.seen is not None:
            return f"{self.address} has guard revision {self.seen.guard}, placement {self.seen.placer}"
        return f"{self.address} {self.said}"


@dataclass(frozen=True, slots=True)
class Proof:
    """What all API servers said."""

    revision: str
    proven: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    """Published addresses that cannot be reached from here."""
    missing: tuple[Answer, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nobody who answered said otherwise, and somebody did answer."""
        return bool(self.proven) and not self.missing

    def __str__(self) -> str:
        if not self.holds:
            said = "; ".join(map(str, self.missing)) or "no API server could be reached"
            return f"Revision {self.revision} was not seen to be in force: {said}."
        assumed = f", assumed at {', '.join(self.assumed)} (not reachable from here)" if self.assumed else ""
        return f"Revision {self.revision} was seen to be in force at {', '.join(self.proven)}{assumed}."


@dataclass
class Canary:
    """Asks the API servers; keeps a connection to each."""

    client: Client
    namespace: str
    given: Sequence[str] = ()
    """API servers to ask instead of those that the cluster publishes."""
    patience: float = PATIENCE
    _clients: dict[str, Client] = field(default_factory=dict)

    async def prove(self, revision: str, interrupted: Callable[[], bool] = lambda: False) -> Proof:
        """Ask until all that answer are of this revision, or patience ends, or something else is more urgent."""
        until = time.monotonic() + self.patience
        clients = [self.client, *await self._followed()]
        pause = PAUSE
        while True:
            proof = _proof(revision, await asyncio.gather(*map(self._ask, clients)))
            if proof.holds or interrupted() or time.monotonic() >= until:
                return proof
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    async def close(self) -> None:
        """Close the connections."""
        while self._clients:
            await self._clients.popitem()[1].close()

    async def _followed(self) -> list[Client]:
        """Follow the API servers as they come and go."""
        addresses = set(self.given or await self._published()) - {self.client.address}
        for gone in self._clients.keys() - addresses:
            await self._clients.pop(gone).close()
        for new in addresses - self._clients.keys():
            self._clients[new] = self.client.at(new)
        return [self._clients[address] for address in sorted(addresses)]

    async def _published(self) -> tuple[str, ...]:
        with contextlib.suppress(Unreachable):  # the configured address is asked in any case and says so
            return await api_servers(self.client)
        return ()

    async def _ask(self, client: Client) -> Answer:
        try:
            await client.create(PODS, canary_pod(), namespace=self.namespace, dry_run=True)
        except ApiError as error:
            said = seen(error.message)
            return Answer(client.address, said, "" if said else f"answered: {str(error)[:200]}")
        except Unreachable as error:
            ours = client is self.client
            return Answer(client.address, said=f"cannot be reached: {error}"[:200], reached=ours)
        return Answer(client.address, said="let the canary pod pass")


def _proof(revision: str, answers: Sequence[Answer]) -> Proof:
    return Proof(
        revision,
        proven=tuple(a.address for a in answers if a.proves(revision)),
        assumed=tuple(a.address for a in answers if not a.reached),
        missing=tuple(a for a in answers if a.reached and not a.proves(revision)),
    )
