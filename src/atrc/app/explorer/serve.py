"""`atrc explore`: load the networks, bind the port, serve."""

from __future__ import annotations

import socket
import sys
import webbrowser
from collections.abc import Sequence

from atrc.app.explorer.examples import from_folder, rooms
from atrc.app.explorer.explorer import Explorer, view_side
from atrc.app.explorer.guard import is_loopback
from atrc.app.explorer.limits import Limits
from atrc.app.explorer.model import Model, short_names
from atrc.app.explorer.worker import Worker
from atrc.errors import UserError, needs_extra
from atrc.training.loading import load

WAITING = 128  # connections that are not yet accepted


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
        models: What `atrc.load` takes, one or several.
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
        from atrc.app.explorer.web import make_server
    with bound_socket(host, port) as listening:
        explorer = make_explorer(models, examples, max_side, device)
        worker = Worker(explorer.limits.waiting)
        url = f"http://{_in_url(host)}:{listening.getsockname()[1]}/"
        print(f"{url}  (Ctrl+C ends it)", flush=True)
        if not is_loopback(host):
            print(f"--host {host}: whoever reaches this machine can use it", file=sys.stderr)
        if open_browser:
            webbrowser.open(url)
        try:
            make_server(explorer, worker, host).run([listening])
        except KeyboardInterrupt:  # how it is meant to end
            pass
        finally:
            worker.close()


def make_explorer(
    models: Sequence[str], examples: str | None, max_side: int | None, device: str, limits: Limits | None = None
) -> Explorer:
    """Load networks and examples.

    Args:
        models: What `atrc.load` takes, one or several.
        examples: A folder of pictures; rendered rooms if None.
        max_side: As for `Model`.
        device: As for `Predictor`.
        limits: What is taken and held at most.
    """
    limits = limits or Limits()
    named = zip(short_names(models), models, strict=True)
    loaded = [Model(name, load(where), device, max_side) for name, where in named]
    tasks = [task for model in loaded for task in model.tasks.values()]
    found = from_folder(examples, view_side(loaded), limits.pixels) if examples else rooms(tasks)
    return Explorer(loaded, found, limits)


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        UserError: The port is taken, or there is no such address here.
    """
    if not 0 <= port <= 65_535:
        raise UserError(f"--port {port}: ports go from 0, any that is free, to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(found[0], found[1])
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: {error}; by default 127.0.0.1") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
        listening.listen(WAITING)
    except OSError as error:
        listening.close()
        raise UserError(
            f"--host {host} --port {port}: {error.strerror}; choose another port, or 0 for any that is free"
        ) from None
    return listening


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
