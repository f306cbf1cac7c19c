"""Catalogues of any size: each classification asks for one of 31 countries, one of 2 models and one of 3 levels."""

from residency.api.classification import DataClassificationSpec
from residency.api.names import ClassificationName
from residency.core.catalogue import Unresolved, resolve
from residency.core.judge import Catalogue

FIRST = "class-000"
"""The classification that every catalogue has and the measured pods are under."""


def catalogue(size: int) -> Catalogue:
    """Return that many classifications, resolved as the controller does it."""
    resolved = resolve({ClassificationName(f"class-{number:03}"): _spec(number) for number in range(size)})
    return {name: found for name, found in resolved.items() if not isinstance(found, Unresolved)}


def _spec(number: int) -> DataClassificationSpec:
    spec = {
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
    return DataClassificationSpec.model_validate(spec)
