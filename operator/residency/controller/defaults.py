"""Telling whether new namespaces get the default classification: a default that names nothing in force does nothing."""

import logging
from dataclasses import dataclass

from residency.api.names import ClassificationName
from residency.core.judge import Catalogue
from residency.reporting.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass
class Default:
    """The default classification as it is configured; empty: there is none, and nothing to tell."""

    name: str
    metrics: Metrics
    _was_known: bool | None = None

    def tell(self, catalogue: Catalogue, *, policies_in_force: bool) -> None:
        """Measure, and log once when it is found not to be there, and when it is there again."""
        if not self.name:
            return
        known = ClassificationName(self.name) in catalogue
        self.metrics.default_classification(self.name, in_force=known and policies_in_force)
        if known is not self._was_known:
            level, said = (logging.INFO, "known") if known else (logging.WARNING, "unknown: new namespaces get none")
            log.log(level, "default classification %s", said, extra={"classification": self.name})
        self._was_known = known
