"""One thread for the network: jobs run one by one, so memory does not grow with the number of visitors."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, PriorityQueue
from threading import BoundedSemaphore, Thread
from typing import Any, TypeVar

from atrc.app.explorer.limits import BusyError

Result = TypeVar("Result")
Job = Callable[[], Any]


class Worker:
    """Runs jobs; quick ones may overtake long ones."""

    def __init__(self, waiting: int) -> None:
        """Start without jobs.

        Args:
            waiting: Limit on the number of jobs, including the running one; more are refused.
        """
        self._jobs = PriorityQueue[tuple[float, int, Future[Any], Job | None]]()
        self._numbers, self._places = itertools.count(), BoundedSemaphore(waiting)
        self._thread = Thread(target=self._work, name="network", daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], Result], patience: float = 0.0) -> Result:
        """Return a job's result.

        Args:
            job: The job.
            patience: Let jobs that arrive up to this much later go first [s].

        Raises:
            BusyError: Too many jobs wait.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError("the server is busy with other visitors; try again in a moment")
        future: Future[Result] = Future()
        future.add_done_callback(lambda _: self._places.release())
        self._jobs.put((time.monotonic() + patience, next(self._numbers), future, job))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for the running job and drop the waiting ones."""
        self._jobs.put((float("-inf"), next(self._numbers), Future(), None))
        self._thread.join()
        while True:
            try:
                self._jobs.get_nowait()[2].cancel()
            except Empty:
                return

    def _work(self) -> None:
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """Do the next job and keep no reference to it; return False at the end."""
        _, _, future, job = self._jobs.get()
        if job is None:
            return False
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(job())
            except BaseException as error:  # for the caller that waits
                future.set_exception(error)
        return True
