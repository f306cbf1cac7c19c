"""Works that go on side by side: one that fails ends them all, one that simply ends does not."""

import asyncio

import pytest

from residency.controller.together import until_failure


class Works:
    """Works that note how they ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def for_ever(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append("for ever")

    async def once(self) -> None:
        self.ended.append("once")

    async def failing(self) -> None:
        await asyncio.sleep(0.01)
        raise ValueError("this one")

    async def cancelled(self) -> None:
        await asyncio.sleep(0.01)
        raise asyncio.CancelledError


async def test_one_that_fails_ends_the_others_and_its_error_is_raised() -> None:
    works = Works()
    with pytest.raises(ValueError, match="this one"):
        await until_failure(works.for_ever(), works.once(), works.failing())
    assert works.ended == ["once", "for ever"]


async def test_one_that_is_cancelled_ends_the_others() -> None:
    works = Works()
    async with asyncio.timeout(5):
        await until_failure(works.for_ever(), works.cancelled())
    assert works.ended == ["for ever"]


async def test_a_cancellation_of_all_of_them_is_not_lost() -> None:
    works = Works()
    task = asyncio.create_task(until_failure(works.for_ever(), works.once()))
    await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert works.ended == ["once", "for ever"]
