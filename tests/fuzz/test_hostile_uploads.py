"""What visitors send to the explorer: files, and questions."""

from __future__ import annotations

import functools
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import strategies as st
from readers import Reader, check_slice
from starlette.testclient import TestClient
from test_hostile_images import pictures

from atrc.app.explorer.explorer import Explorer
from atrc.app.explorer.limits import Limits
from atrc.app.explorer.web import make_app
from atrc.app.explorer.worker import Worker
from atrc.errors import UserError
from explorer_network import encoded, make_explorer, make_network, scene


@functools.cache
def explorer() -> Explorer:
    return make_explorer(make_network(), limits=Limits(upload=1 << 16, pixels=1 << 22, images=1 << 20))


@functools.cache
def client() -> TestClient:
    app = make_app(explorer(), Worker(explorer().limits.waiting))
    made = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True)
    return made.__enter__()  # one event loop for all requests, as in a server


WORDS = st.sampled_from(
    [
        "0",
        "-1",
        "1",
        "5",
        "47",
        "depth",
        "semseg",
        "9" * 5000,
        "\xb2",
        "1e3",
        "nan",
        "None",
        "../x",
        "",
        "%00",
        "é",
        "\ud83d",
        "x" * 999,
    ]
)
queries = st.lists(
    st.tuples(st.sampled_from(["model", "task", "row", "column", "target", "region", "x"]), WORDS), max_size=5
)
places = st.sampled_from(["", "/photo", "/look", "/prediction", "/pixel", "/region", "/..", "/x"])
questions = st.builds(
    lambda name, place,
    query: f"/api/images/{name}{place}?" + "&".join(f"{key}={quote(value, errors='replace')}" for key, value in query),
    st.sampled_from(["example-0", "example-1", "example-9", "x", "..", "%2e%2e", "example-" + "9" * 5000, "example--1",
    "example-\u0661"]),
    places, queries,
)  # fmt: skip
sent = st.builds(
    lambda content, question, headers: {"body": content, "question": question.encode(), "headers": headers.encode()},
    pictures, questions, st.sampled_from(["", "content-length: 5", "host: evil", "origin: http://evil",
    "content-type: multipart/form-data"]),
)  # fmt: skip


def visit(folder: Path) -> None:
    """Bring a file past the server and through it, then ask a question; refusals are those of the server."""
    content = (folder / "body").read_bytes()
    name, _, value = (folder / "headers").read_text().partition(": ")
    refusals = []
    try:
        explorer().add(content)
    except UserError as error:
        refusals.append(error)
    answers = [client().post("/api/images", content=content, headers={name: value} if name else {})]
    answers.append(client().get((folder / "question").read_text()))
    for answer in answers:
        if answer.status_code >= 400:
            assert answer.status_code in (400, 403, 404, 405, 413, 421), answer.text
            refusals.append(UserError(answer.text))
    if refusals:
        raise refusals[0]


VALID = {"body": encoded(scene(1)), "question": b"/api/images/example-0/look?model=0", "headers": b""}
READERS = [Reader("uploads", sent, visit, VALID, 3)]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_visitors_are_answered_or_refused(reader, tmp_path):
    check_slice(reader, tmp_path, 20)
