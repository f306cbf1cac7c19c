"""Probes and metrics over HTTP."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from residency.controller.serving import Server
from residency.reporting.metrics import Metrics


class Health:
    def __init__(self) -> None:
        self.death = ""
        self.trouble = ""

    def dead(self) -> str:
        return self.death

    def unready(self) -> str:
        return self.trouble


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def url(health: Health) -> AsyncIterator[str]:
    server = Server("127.0.0.1", 0, health, Metrics())
    yield f"http://127.0.0.1:{await server.start()}"
    await server.stop()


async def get(url: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text(), response.headers["Content-Type"]


async def test_a_probe_says_ok_or_why_not(url: str, health: Health) -> None:
    assert (await get(f"{url}/livez"))[:2] == (200, "ok\n")
    health.trouble = "nothing has been reconciled yet"
    assert (await get(f"{url}/readyz"))[:2] == (503, "nothing has been reconciled yet\n")
    assert (await get(f"{url}/livez"))[0] == 200
    health.death = "stuck"
    assert (await get(f"{url}/livez"))[0] == 503


async def test_metrics_are_in_the_text_format(url: str) -> None:
    status, text, content_type = await get(f"{url}/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert "residency_leader 0.0" in text


async def test_anything_else_is_not_there(url: str) -> None:
    assert (await get(f"{url}/"))[0] == 404
