"""Files on their way in: counted while they arrive."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from atrc.app.explorer.limits import MEGABYTE, BusyError, Limits, TooLargeError
from atrc.errors import UserError


class Uploads:
    """Reads bodies of requests, each and all together within limits."""

    def __init__(self, limits: Limits) -> None:
        """Expect nothing yet."""
        self.limits, self.arriving = limits, 0

    async def read(self, request: Request) -> bytes:
        """Return the body of a request.

        Raises:
            TooLargeError: It is, by its header or when that many bytes have come.
            BusyError: Too much arrives at a time.
            UserError: It takes too long.
        """
        if int(request.headers.get("content-length", 0)) > self.limits.upload:  # the server takes digits only
            raise self._too_large()
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await self._read(request)
        except TimeoutError:
            raise UserError(f"the file took more than {self.limits.seconds:.0f} s to arrive; try again") from None

    async def _read(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async for chunk in request.stream():
                self.arriving += len(chunk)
                body += chunk
                if len(body) > self.limits.upload:
                    raise self._too_large()
                if self.arriving > self.limits.uploads:
                    raise BusyError("too many files arrive at a time; try again in a moment")
            return bytes(body)
        finally:
            self.arriving -= len(body)

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the file is larger than {self.limits.upload / MEGABYTE:g} MB; save it smaller")
