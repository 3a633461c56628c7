"""`atrc explore`: load the networks, bind the port, serve."""

from __future__ import annotations

import socket
import sys
import webbrowser
from collections.abc import Sequence

from atrc.app.explorer.examples import from_folder, rooms
from atrc.app.explorer.explorer import Explorer, view_side
from atrc.app.explorer.limits import Limits
from atrc.app.explorer.model import Model, short_names
from atrc.app.explorer.worker import Worker
from atrc.errors import UserError, needs_extra
from atrc.training.loading import load

WAITING = 128  # number of connections that wait to be accepted


def run_explorer(
    models: Sequence[str],
    examples: str | None,
    host: str,
    port: int,
    max_side: int | None,
    device: str,
    open_browser: bool,
) -> None:
    """Serve until interrupted. The arguments are the options of `atrc explore`.

    Raises:
        UserError: A network cannot be loaded, the port is taken, or a package is missing.
    """
    with needs_extra("explore", "the explorer"):
        from atrc.app.explorer.guard import is_loopback
        from atrc.app.explorer.web import make_server
    with bound_socket(host, port) as listening:
        explorer = make_explorer(models, examples, max_side, device)
        worker = Worker(explorer.limits.waiting)
        url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"
        print(f"{url}  (Ctrl+C ends it)", flush=True)
        if not is_loopback(host):
            print(f"--host {host}: whoever reaches this machine can use it", file=sys.stderr)
        if open_browser:
            webbrowser.open(url)
        try:
            make_server(explorer, worker, host).run([listening])
        except KeyboardInterrupt:  # the usual end
            pass
        finally:
            worker.close()


def make_explorer(models: Sequence[str], examples: str | None, max_side: int | None, device: str) -> Explorer:
    """Load networks and examples. The arguments are options of `atrc explore`."""
    limits = Limits()
    named = zip(short_names(models), models, strict=True)
    loaded = [Model(name, load(where), device, max_side) for name, where in named]
    tasks = [task for model in loaded for task in model.tasks.values()]
    found = from_folder(examples, view_side(loaded), limits.pixels) if examples else rooms(tasks)
    return Explorer(loaded, found, limits)


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
        UserError: The port is taken, or this machine does not have the address.
    """
    if not 0 <= port <= 65_535:
        raise UserError(f"--port {port}: ports go from 0, which takes any free one, to 65535")
    where = f"--host {host} --port {port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(found[0], found[1])
    except OSError as error:
        raise UserError(f"{where}: {error}; the default host is 127.0.0.1") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
        listening.listen(WAITING)
    except OSError as error:
        listening.close()
        raise UserError(f"{where}: {error.strerror}; choose another port, or 0 for any free one") from None
    return listening
