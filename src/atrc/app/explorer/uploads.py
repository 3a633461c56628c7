"""Uploaded files: they count towards the limits from their first byte until the work with them is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from atrc.app.explorer.limits import MEGABYTE, BusyError, Limits, TooLargeError
from atrc.errors import UserError


class Uploads:
    """Reads the bodies of requests within limits, for each and for all together."""

    def __init__(self, limits: Limits) -> None:
        """Start without files."""
        self.limits, self.held = limits, 0

    @asynccontextmanager
    async def taking(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body of a request; it counts until the block ends, also if the visitor has left.

        The server finishes the requests of visitors that left, so a block that awaits its job ends after it.

        Raises:
            TooLargeError: The file is too large, by its header or by the bytes that arrived.
            BusyError: Too many files arrive at a time.
            UserError: The file takes too long.
        """
        content = await self._in_time(request)
        try:
            yield content
        finally:
            self.held -= len(content)

    async def _in_time(self, request: Request) -> bytes:
        if int(request.headers.get("content-length", 0)) > self.limits.upload:  # the server accepts digits only
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
                self.held += len(chunk)
                body += chunk
                if len(body) > self.limits.upload:
                    raise self._too_large()
                if self.held > self.limits.uploads:
                    raise BusyError("too many files arrive at a time; try again in a moment")
            return bytes(body)
        except BaseException:
            self.held -= len(body)
            raise

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the file is larger than {self.limits.upload / MEGABYTE:g} MB; save it smaller")
