"""`atrc explore`: load the networks, bind the port, serve."""

from __future__ import annotations

import contextlib
import socket
import sys
import webbrowser
from collections.abc import Sequence
from typing import Any

from atrc.app.explorer.examples import from_folder, rooms
from atrc.app.explorer.explorer import Explorer, view_side
from atrc.app.explorer.guard import is_loopback
from atrc.app.explorer.limits import Limits
from atrc.app.explorer.model import Model, short_name
from atrc.errors import UserError, needs_extra
from atrc.training.loading import load_network

CONNECTIONS = 256


def run_explorer(
    models: Sequence[str],
    examples: str | None,
    host: str,
    port: int,
    max_side: int | None,
    device: str,
    open_browser: bool,
) -> None:
    """Serve until interrupted.

    Args:
        models: What `load_network` takes, one or several.
        examples: A folder of pictures; rendered rooms if None.
        host: The address to bind.
        port: The port; 0 for any that is free.
        max_side: As for `Model`.
        device: As for `Predictor`.
        open_browser: Open the page in the browser of this machine.

    Raises:
        UserError: A network cannot be loaded, the port is taken, a package is missing.
    """
    with needs_extra("explore", "the explorer"):
        import starlette  # noqa: F401
        import uvicorn

        from atrc.app.explorer.web import make_app
    with bound_socket(host, port) as listening:
        explorer = make_explorer(models, examples, max_side, device)
        config = uvicorn.Config(make_app(explorer, host), **SETTINGS)
        url = f"http://{_in_url(host)}:{listening.getsockname()[1]}/"
        print(f"{url}  (Ctrl+C ends it)", flush=True)
        if not is_loopback(host):
            print(f"--host {host}: whoever reaches this machine can use it", file=sys.stderr)
        if open_browser:
            webbrowser.open(url)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run([listening])


# No access log: it would name photographs. h11 checks lengths and headers; nothing here is a web socket.
SETTINGS: dict[str, Any] = {
    "http": "h11",
    "ws": "none",
    "lifespan": "off",
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "limit_concurrency": CONNECTIONS,
    "timeout_keep_alive": 30,
    "timeout_graceful_shutdown": 3,
}


def make_explorer(
    models: Sequence[str], examples: str | None, max_side: int | None, device: str, limits: Limits | None = None
) -> Explorer:
    """Load networks and examples.

    Args:
        models: What `load_network` takes, one or several.
        examples: A folder of pictures; rendered rooms if None.
        max_side: As for `Model`.
        device: As for `Predictor`.
        limits: What is taken and held at most.
    """
    limits = limits or Limits()
    loaded = [Model(short_name(where), load_network(where), device, max_side) for where in models]
    tasks = [task for model in loaded for task in model.tasks.values()]
    found = from_folder(examples, view_side(loaded), limits.pixels) if examples else rooms(tasks)
    return Explorer(loaded, found, limits)


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        UserError: The port is taken, or there is no such address here.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(found[0], found[1])
    except (OSError, OverflowError) as error:
        raise UserError(f"--host {host} --port {port}: {error}; by default 127.0.0.1") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
        listening.listen(CONNECTIONS)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--port {port}: {reason}; choose another, or 0 for any that is free") from None
    return listening


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
