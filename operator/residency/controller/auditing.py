"""The audit of a leader: reflectors that feed two pictures, and a wake-up call when there is news for a status.

Whatever goes wrong here ends the audit and begins it again from nothing, never the process: what is enforced does not
depend on it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from residency.api.names import CLASSIFICATION, Outcome
from residency.audit.picture import Picture
from residency.audit.tally import PodKey
from residency.audit.volumes import VolumePicture
from residency.cluster.client import Client
from residency.cluster.reflector import Gap, ItemT, Pace, Reflector, Sink
from residency.cluster.resources import CLAIMS, NAMESPACES, NODES, PODS, STORAGE_CLASSES, VOLUMES, Resource
from residency.controller.observed import Namespace, Namespaces, Node, Nodes, Pod, Pods
from residency.controller.observed_storage import (
    Claim,
    Claims,
    PersistentVolume,
    PersistentVolumes,
    StorageClass,
    StorageClasses,
)
from residency.controller.together import until_failure
from residency.core.judge import Catalogue
from residency.reporting.audit import Audited, Told

log = logging.getLogger(__name__)

REST: Final = 5.0
"""Seconds at least between two statuses that tell something new, and before the audit begins again."""
CALM: Final = 30.0
"""The same where only more or fewer pods comply, or wait."""
LOOK: Final = 1.0
"""Seconds between looks whether there is something to tell in a status."""
NOTICE: Final = 0.25
"""Seconds between looks whether there is something to tell listeners."""
BLIND: Final = 60.0
"""Seconds without a watch after which the picture is not said to be true any more."""
LAG: Final = 10.0
"""Seconds for which listeners wait for a watch that was lost: most are back by then, and not all at the same time."""
MOST_GAPS: Final = 100
"""Times in which something was not seen that wait to be asked for."""
PATIENCE: Final = 30.0
"""Seconds after its start in which an audit that is not complete yet is nothing to speak of."""


class Listener(Protocol):
    """Somebody who makes something of what changes."""

    def changed(self, pods: Collection[PodKey], picture: Picture) -> None:
        """Take in that these pods began or ceased to deviate; called all the time while the picture is complete.

        After a failure of the audit the picture is another object: what it does not know has to be looked up anew.
        """


@dataclass
class Audit:
    """Keeps the picture while it runs."""

    client: Client
    excluded: Collection[str]
    """Namespaces that are left alone."""
    clock: Callable[[], float] = time.monotonic
    pace: Pace | None = None
    """How lists and watches are paced, if not as usual."""
    restarts: int = 0
    listeners: list[Listener] = field(default_factory=list)
    _catalogue: Catalogue | None = None
    _picture: Picture = field(init=False)
    _volumes: VolumePicture = field(init=False)
    _reflectors: Mapping[str, Reflector[Any]] = field(init=False)
    _gaps: deque[Gap] = field(default_factory=lambda: deque(maxlen=MOST_GAPS))
    _began: float = field(init=False)
    _told: tuple[float, Told] | None = None
    """When statuses were last told something new, and what; None where they have nothing from here."""

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._begin()

    def _begin(self) -> None:
        self._picture = picture = Picture(self.excluded)
        self._volumes = volumes = VolumePicture(self.excluded)
        if self._catalogue is not None:
            self.judge_by(self._catalogue)
        classified = Namespaces(picture, volumes)
        self._reflectors = {
            "pods": self._reflector(PODS, Pod, Pods(picture)),
            "nodes": self._reflector(NODES, Node, Nodes(picture, volumes)),
            "namespaces": self._reflector(NAMESPACES, Namespace, classified, labels=CLASSIFICATION),
            "persistentvolumes": self._reflector(VOLUMES, PersistentVolume, PersistentVolumes(volumes)),
            "persistentvolumeclaims": self._reflector(CLAIMS, Claim, Claims(volumes)),
            "storageclasses": self._reflector(STORAGE_CLASSES, StorageClass, StorageClasses(volumes)),
        }

    def _reflector(self, resource: Resource, item: type[ItemT], sink: Sink[ItemT], labels: str = "") -> Reflector[Any]:
        return Reflector(self.client, resource, item, sink, labels=labels, pace=self.pace, missed=self._gaps.append)

    # What it knows

    @property
    def complete(self) -> Picture | None:
        """The picture, once everything has been seen and there are classifications to judge by."""
        seen = all(reflector.synced.is_set() for reflector in self._reflectors.values())
        return self._picture if seen and self._catalogue is not None else None

    @property
    def volumes(self) -> VolumePicture | None:
        """The volumes, as soon as the picture is complete."""
        return None if self.complete is None else self._volumes

    @property
    def synced(self) -> bool:
        """Whether the picture is complete, and everything in it watched, but for a moment."""
        blind = max((reflector.blind_for or 0.0 for reflector in self._reflectors.values()), default=0.0)
        return self.complete is not None and blind < BLIND

    @property
    def beginning(self) -> bool:
        """Whether it is too early to complain that the picture is not complete."""
        return self.complete is None and self.clock() - self._began < PATIENCE

    @property
    def watched(self) -> Mapping[str, Reflector[Any]]:
        """The reflectors, by what they follow."""
        return self._reflectors

    def take_missed(self) -> float:
        """For how many seconds at the most something was not seen that is seen again, since this was last asked."""
        longest = max((gap.seconds for gap in self._gaps), default=0.0)
        self._gaps.clear()
        return longest

    def judge_by(self, catalogue: Catalogue) -> None:
        """Judge by these classifications from now on."""
        self._catalogue = catalogue
        self._picture.set_catalogue(catalogue)
        self._volumes.set_catalogue(catalogue)

    def tell(self) -> Told | None:
        """Say what statuses should; the same as last time where that was a moment ago, so that they come to rest."""
        if not self.synced:
            self._told = None
            return None
        now = self.clock()
        if self._told is None or now - self._told[0] >= REST or self._told[1].keys() != self._picture.catalogue.keys():
            self._told = now, Audited.of(self._picture, self._volumes)
        return self._told[1]

    # Its life

    async def run(self, wake: Callable[[], None]) -> None:
        """Watch for ever; ``wake`` is called when there is something new for a status."""
        while True:
            try:
                await until_failure(*(one.run() for one in self._reflectors.values()), self._look(wake))
            except Exception:
                log.exception("the audit failed, and begins again")
            self.restarts += 1
            # At once: of what is not followed any more nobody may say that it is so.
            self._begin()
            await asyncio.sleep(REST)

    async def _look(self, wake: Callable[[], None]) -> None:
        looked = woken = -REST
        while True:
            await asyncio.sleep(NOTICE)
            self._notify()
            now = self.clock()
            if now - looked < LOOK:
                continue
            looked = now
            if now - woken >= REST and self._has_news():
                woken = now
                wake()

    def _notify(self) -> None:
        picture = self.complete
        if picture is None or self._lagging:
            return
        changed = picture.tally.take_changed()
        for listener in self.listeners:
            listener.changed(changed, picture)

    @property
    def _lagging(self) -> bool:
        """Whether a watch was lost a moment ago: what another tells may be about what this one has yet to tell."""
        return any(0 < (one.blind_for or 0.0) < LAG for one in self._reflectors.values())

    def _has_news(self) -> bool:
        """Whether statuses say what is not so any more, and have said so for long enough."""
        if self._told is None or not self.synced:
            return self.synced is (self._told is None)
        told, said = self._told
        passed = self.clock() - told
        if passed < REST:
            return False
        now = Audited.of(self._picture, self._volumes)
        return _essence(now) != _essence(said) or (passed >= CALM and now != said)


def _essence(told: Told) -> object:
    return {
        name: (
            audited.eligible,
            audited.examples,
            bool(audited.counts.get(Outcome.COMPLIANT)),
            [audited.of_these(o) for o in Outcome if o not in (Outcome.COMPLIANT, Outcome.WAITING)],
            audited.volumes.essence,
        )
        for name, audited in told.items()
    }
