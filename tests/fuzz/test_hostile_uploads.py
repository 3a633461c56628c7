"""What visitors send to the explorer: files, and questions."""

from __future__ import annotations

import functools
from contextlib import suppress
from urllib.parse import quote

import mutations
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from test_hostile_images import pictures

from atrc.app.explorer.explorer import Explorer
from atrc.app.explorer.limits import Limits
from atrc.app.explorer.web import make_app
from atrc.app.explorer.worker import Worker
from atrc.errors import UserError
from explorer_network import make_explorer, make_network


@functools.cache
def explorer() -> Explorer:
    return make_explorer(make_network(), limits=Limits(upload=1 << 16, pixels=1 << 22, images=1 << 20))


@functools.cache
def client() -> TestClient:
    app = make_app(explorer(), Worker(explorer().limits.waiting))
    made = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True)
    return made.__enter__()  # one event loop for all requests, as in a server


WORDS = st.sampled_from(
    ["0", "-1", "1", "5", "47", "depth", "semseg", "9" * 5000, "\xb2", "1e3", "nan", "None", "../x", "", "%00", "é",
    "\ud83d", "x" * 999]
)  # fmt: skip
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
headers = st.sampled_from(
    [{}, {"content-length": "5"}, {"host": "evil"}, {"origin": "http://evil"}, {"content-type": "multipart/form-data"}]
)


@mutations.few
@given(pictures, questions, headers)
def test_visitors_are_answered_or_refused(content, question, headers):
    """A file comes past the server and through it, then a question."""
    with suppress(UserError):
        explorer().add(content)
    for answer in (client().post("/api/images", content=content, headers=headers), client().get(question)):
        assert answer.status_code < 400 or answer.status_code in (400, 403, 404, 405, 413, 421), answer.text
