"""Catalogues of any size: each classification asks for one of 31 countries, one of 2 models and one of 3 levels.

Those with everything ask something of storage besides, and two of three only warn or audit.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from residency.api.classification import DataClassificationSpec
from residency.api.names import ClassificationName, Fact, Mode
from residency.core.catalogue import Unresolved, resolve
from residency.core.judge import Catalogue
from residency.core.placement import Storage
from residency.core.requirements import Operator, Requirement

Kind = Callable[[int], Catalogue]
FIRST = "class-000"
"""The classification that every catalogue has and the measured pods are under."""


def catalogue(size: int) -> Catalogue:
    """Return that many classifications, resolved as the controller does it."""
    resolved = resolve({ClassificationName(f"class-{number:03}"): _spec(number) for number in range(size)})
    return {name: found for name, found in resolved.items() if not isinstance(found, Unresolved)}


def everything(size: int) -> Catalogue:
    """Return the same with all that a classification can ask for; the first is enforced."""
    storage = Storage((Requirement(Fact.COUNTRY, Operator.IN, ("NL",)),), classes=("nl-disk", "nl-fast"))
    modes = list(Mode)
    return {
        name: replace(found, storage=storage, mode=modes[number % len(modes)])
        for number, (name, found) in enumerate(sorted(catalogue(size).items()))
    }


def specification(number: int) -> dict[str, Any]:
    """Return the spec of one classification as people write it."""
    return {
        "title": f"Confidential data of kind {number}",
        "references": [{"title": "Government cloud policy 2026", "clause": f"4.{number}"}],
        "nodes": {
            "anyOf": [
                {
                    # The 27 of the EU, Iceland, Liechtenstein, Norway and Switzerland.
                    "countrySets": ["eea-ch"],
                    "deploymentModels": ["government", "private-external"],
                    "minSEAL": 2,
                }
            ]
        },
    }


def _spec(number: int) -> DataClassificationSpec:
    return DataClassificationSpec.model_validate(specification(number))
