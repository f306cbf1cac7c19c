"""Works that go on for ever side by side, and end together."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def until_failure(*works: Coroutine[Any, Any, None]) -> None:
    """Do all of them until one fails or is cancelled, end the others, and raise what it raised.

    One that simply ends is not waited for. A task group would lose a cancellation that comes meanwhile.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        going = set(tasks)
        while going:
            done, going = await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
            if any(task.cancelled() or task.exception() is not None for task in done):
                break
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end
