"""Seeing policies in force: what counts as seen."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from residency.cluster.client import Client
from residency.cluster.errors import ApiError, Unreachable
from residency.cluster.resources import Resource
from residency.controller import canary as module
from residency.controller.canary import Canary

Object = dict[str, Any]
REVISION = "abc123"
NEW = ApiError(403, "Forbidden", f"denied: Residency canary: guard revision {REVISION}, placed by revision {REVISION}")
OLD = ApiError(403, "Forbidden", f"denied: Residency canary: guard revision old, placed by revision {REVISION}")
UNPLACED = ApiError(
    403, "Forbidden", f"denied: Residency canary: guard revision {REVISION}, placed by revision nothing"
)


class Servers:
    """Clients of pretended API servers: each answers in turn, the last answer for ever."""

    def __init__(self, address: str, answers: Mapping[str, list[Exception | None]], published: list[str]) -> None:
        self.address = address
        self.answers = answers
        self.published = published
        self.closed = False

    def at(self, endpoint: str) -> "Servers":
        return Servers(endpoint, self.answers, self.published)

    async def close(self) -> None:
        self.closed = True

    async def find(self, *_: object, **__: object) -> list[Object]:
        if "cannot list" in self.published:
            raise Unreachable("down")
        return [
            {"ports": [{"name": "https", "port": 6443}], "endpoints": [{"addresses": [address]}]}
            for address in self.published
        ]

    async def create(self, _: Resource, body: Object, *, namespace: str, dry_run: bool) -> Object:
        assert dry_run
        assert namespace == "canaries"
        answers = self.answers[self.address]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is not None:
            raise answer
        return body


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.001)


def canary(answers: Mapping[str, list[Exception | None]], *published: str, given: tuple[str, ...] = ()) -> Canary:
    client = Servers("https://host", answers, list(published))
    return Canary(cast(Client, client), "canaries", given, patience=0.05)


async def test_a_refusal_with_the_revision_is_the_proof() -> None:
    proof = await canary({"https://host": [NEW]}).prove(REVISION)
    assert proof.holds
    assert str(proof) == f"Revision {REVISION} was seen to be in force at https://host."


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "let the canary pod pass"),
        (OLD, "guard revision old"),
        (UNPLACED, "placement nothing"),
        (ApiError(403, "Forbidden", "pods is forbidden: no right"), "no right"),
        (ApiError(404, "NotFound", 'namespaces "canaries" not found'), "not found"),
        (ApiError(503, "ServiceUnavailable", "not yet ready"), "not yet ready"),
        (Unreachable("down"), "cannot be reached"),
    ],
)
async def test_anything_else_is_not(answer: Exception | None, said: str) -> None:
    proof = await canary({"https://host": [answer]}).prove(REVISION)
    assert not proof.holds
    assert said in str(proof)


async def test_it_waits_until_all_have_followed() -> None:
    answers: dict[str, list[Exception | None]] = {"https://host": [OLD, NEW], "https://10.0.0.1:6443": [None, OLD, NEW]}
    proof = await canary(answers, "10.0.0.1").prove(REVISION)
    assert proof.proven == ("https://host", "https://10.0.0.1:6443")


async def test_one_api_server_that_does_not_follow_is_enough_to_say_no() -> None:
    answers: dict[str, list[Exception | None]] = {"https://host": [NEW], "https://10.0.0.1:6443": [OLD]}
    proof = await canary(answers, "10.0.0.1").prove(REVISION)
    assert not proof.holds
    assert "https://10.0.0.1:6443 has guard revision old" in str(proof)


async def test_a_published_address_that_cannot_be_reached_is_assumed_and_said() -> None:
    answers: dict[str, list[Exception | None]] = {"https://host": [NEW], "https://10.0.0.1:6443": [Unreachable("no")]}
    proof = await canary(answers, "10.0.0.1").prove(REVISION)
    assert proof.holds
    assert "assumed at https://10.0.0.1:6443" in str(proof)


async def test_given_addresses_are_asked_instead_of_the_published() -> None:
    answers: dict[str, list[Exception | None]] = {"https://host": [NEW], "https://given:1": [OLD]}
    assert not (await canary(answers, "10.0.0.1", given=("https://given:1",)).prove(REVISION)).holds


async def test_it_follows_api_servers_that_come_and_go() -> None:
    answers: dict[str, list[Exception | None]] = {"https://host": [NEW], "https://10.0.0.1:6443": [NEW]}
    watched = canary(answers, "10.0.0.1")
    assert len((await watched.prove(REVISION)).proven) == 2
    cast(Servers, watched.client).published.clear()
    assert (await watched.prove(REVISION)).proven == ("https://host",)
    await watched.close()


async def test_it_does_not_wait_when_there_is_something_more_urgent() -> None:
    slow = canary({"https://host": [OLD]})
    slow.patience = 60
    assert not (await slow.prove(REVISION, lambda: True)).holds
