"""One thread for the network: jobs run one after the other, so memory does not grow with the number of visitors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

from atrc.app.explorer.limits import BusyError

Result = TypeVar("Result")


class Worker:
    """Runs jobs in the order of their arrival."""

    def __init__(self, waiting: int) -> None:
        """Start without jobs.

        Args:
            waiting: Jobs, with the one that runs, beyond which new ones are refused.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._places = BoundedSemaphore(waiting)

    async def run(self, job: Callable[[], Result]) -> Result:
        """Return a job's result.

        Raises:
            BusyError: Too many jobs wait.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError("the server is busy with other visitors; try again in a moment")
        future = self._thread.submit(job)
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop the jobs that wait, and end when the one that runs is done."""
        self._thread.shutdown(wait=True, cancel_futures=True)
