"""The web server of the explorer: routes, and errors as JSON for the page."""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from atrc.app.explorer.explorer import Explorer
from atrc.app.explorer.guard import Guard
from atrc.app.explorer.limits import BusyError, MissingError, TooLargeError
from atrc.app.explorer.look import Look
from atrc.app.explorer.uploads import Uploads
from atrc.app.explorer.worker import Worker
from atrc.errors import UserError, first_line

STATUS: dict[type[Exception], int] = {BusyError: 503, TooLargeError: 413, MissingError: 404, UserError: 400}
IN_PAGE = {"cache-control": "no-cache"}
FIXED = {"cache-control": "private, max-age=3600"}  # the page adds the version of the server to the URL
# No access log: it would name images. h11 checks lengths and headers; there are no web sockets.
SETTINGS: dict[str, Any] = {
    "http": "h11",
    "ws": "none",
    "lifespan": "off",
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "limit_concurrency": 256,
    "timeout_keep_alive": 30,
    "timeout_graceful_shutdown": 3,
}

Result = TypeVar("Result")
Endpoint = Callable[[Request], Awaitable[Response]]


def make_server(explorer: Explorer, worker: Worker, host: str = "127.0.0.1") -> uvicorn.Server:
    """Return a server of an explorer. The arguments are those of `make_app`."""
    return uvicorn.Server(uvicorn.Config(make_app(explorer, worker, host), **SETTINGS))


def make_app(explorer: Explorer, worker: Worker, host: str = "127.0.0.1") -> ASGIApp:
    """Return the explorer as an ASGI application.

    Args:
        explorer: The explorer.
        worker: The thread that runs it.
        host: The address of the server.
    """
    uploads = Uploads(explorer.limits)

    async def models(request: Request) -> Response:
        return JSONResponse(explorer.describe())

    async def legend(request: Request) -> Response:
        model = explorer.models[_number(request, "model", len(explorer.models))]
        return Response(model.ball(_word(request, "task")), media_type="image/png", headers=FIXED)

    async def add(request: Request) -> Response:
        async with uploads.taking(request) as content:
            return JSONResponse(await worker.run(lambda: explorer.add(content)), 201)

    async def image(request: Request) -> Response:
        return JSONResponse(await worker.run(lambda: explorer.image(_name(request))))

    async def jpeg(request: Request) -> Response:
        content = await worker.run(lambda: explorer.jpeg(_name(request)))
        return Response(content, media_type="image/jpeg", headers=FIXED)

    async def ask(request: Request, question: Callable[[Look], Result]) -> Result:
        name, model = _name(request), _number(request, "model")
        return await worker.run(lambda: question(explorer.look(name, model)), explorer.patience(name, model))

    async def look(request: Request) -> Response:
        return JSONResponse(await ask(request, lambda look: look.describe()))

    async def prediction(request: Request) -> Response:
        task = _word(request, "task")
        content = await ask(request, lambda look: look.prediction(task))
        return Response(content, media_type="image/png", headers=FIXED)

    async def pixel(request: Request) -> Response:
        place, target = (_number(request, "row"), _number(request, "column")), request.query_params.get("target")
        return JSONResponse(await ask(request, lambda look: look.at(*place, target)))

    async def region(request: Request) -> Response:
        number, task = _number(request, "region"), _word(request, "task")
        return JSONResponse(await ask(request, lambda look: look.region(task, number)))

    api: dict[str, tuple[Endpoint, str]] = {
        "/api/models": (models, "GET"),
        "/api/legend": (legend, "GET"),
        "/api/images": (add, "POST"),
        "/api/images/{name}": (image, "GET"),
        "/api/images/{name}/photo": (jpeg, "GET"),
        "/api/images/{name}/look": (look, "GET"),
        "/api/images/{name}/prediction": (prediction, "GET"),
        "/api/images/{name}/pixel": (pixel, "GET"),
        "/api/images/{name}/region": (region, "GET"),
    }
    routes = [Route(path, _answering(endpoint), methods=[method]) for path, (endpoint, method) in api.items()]
    return Guard(Starlette(routes=[*routes, *_page()]), host)


def _answering(endpoint: Endpoint) -> Endpoint:
    """Answer mistakes and failures of the network with a message."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except UserError as error:
            status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
            more = {"retry-after": "1"} if status == 503 else {}
            return JSONResponse({"error": str(error)}, status, more)
        except ClientDisconnect:
            return JSONResponse({"error": "the file did not arrive completely"}, 400)
        except (RuntimeError, MemoryError) as error:  # out of memory, most likely
            return JSONResponse({"error": f"the network failed ({first_line(error)}); try a smaller image"}, 500)

    return answer


def _page() -> list[Route]:
    """Serve the files of the page, and no other files."""
    folder = resources.files("atrc.app.explorer") / "page"
    return [_file(entry.name, entry.read_bytes()) for entry in folder.iterdir() if entry.is_file()]


def _file(name: str, content: bytes) -> Route:
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "application/octet-stream"

    async def serve(request: Request) -> Response:
        return Response(content, media_type=kind, headers=IN_PAGE)

    return Route("/" if name == "index.html" else f"/{name}", serve)


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _word(request: Request, key: str) -> str:
    value: Any = request.query_params.get(key)
    if value is None:
        raise UserError(f"{key} is missing")
    return str(value)


def _number(request: Request, key: str, below: int | None = None) -> int:
    text = _word(request, key)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UserError(f"{key} is {text[:20]!r}; it has to be a whole number")
    if below is not None and int(text) >= below:
        raise MissingError(f"no {key} {text}; there are {below}")
    return int(text)
