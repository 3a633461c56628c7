"""A check of every request, and the security headers of every answer."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
FOREIGN = "the request comes from another page; only this server's own page may send it"
OWN = ("same-origin", "none")  # Sec-Fetch-Site of the page itself, and of an address that a person typed


class Guard:
    """Refuses requests of other web pages in a visitor's browser, and sets the headers of every answer.

    Another page may let its own name point to this machine (DNS rebinding): the Host header reveals it. It may also
    post to this server from its own address: the Origin header reveals it.
    """

    def __init__(self, application: ASGIApp, host: str) -> None:
        """Wrap an application.

        Args:
            application: ASGI.
            host: The address of the server.
        """
        self.application, self.host = application, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.decode().lower() not in HEADERS]
                message["headers"] = kept + [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        reason = refusal(scope["method"], scope["path"], headers, self.host)
        if reason:
            await PlainTextResponse(reason, 403)(scope, receive, send_guarded)
        else:
            await self.application(scope, receive, send_guarded)


def refusal(method: str, path: str, headers: dict[str, str], bound: str) -> str:
    """Return why a request is refused; an empty string if it is allowed.

    Args:
        method: HTTP method, such as GET.
        path: Requested path.
        headers: Headers, with names in lower case.
        bound: The address of the server.
    """
    host = headers.get("host", "")
    if not is_own_name(host, bound):
        return f"this server is not {host or 'without a name'}; open it by its address"
    origin = headers.get("origin")
    if method not in ("GET", "HEAD") and origin is not None and _place(origin) != host.lower():
        return FOREIGN
    if path.startswith("/api/") and headers.get("sec-fetch-site", "none") not in OWN:
        return FOREIGN
    return ""


def is_own_name(host: str, bound: str) -> bool:
    """Tell whether a Host header names this server.

    Its own address and localhost do. If it serves other machines too, every IP address does: no name can pose as one.

    >>> is_own_name("localhost:8760", "127.0.0.1"), is_own_name("evil.example:8760", "127.0.0.1")
    (True, False)
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", bound):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback or not is_loopback(bound)
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
