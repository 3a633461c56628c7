"""The server: who may send requests, what it answers, and that visitors do not disturb each other."""

import re
import runpy
import socket
from importlib import resources
from pathlib import Path

import pytest

from atrc.app.cli import make_parser
from atrc.app.explorer.guard import is_own_name, refusal
from atrc.app.explorer.limits import MEGABYTE, Limits
from explorer_network import GENOTYPE, Client, encoded, make_explorer, make_network, scene, serving

PAGE = (Path(__file__).parents[3] / "docs/explore.md").read_text(encoding="utf-8")
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def port():
    with serving(make_explorer(make_network(), make_network(None))) as port:
        yield port


@pytest.fixture
def client(port):
    with Client(port) as client:
        yield client


def test_an_image_is_uploaded_and_analysed(client):
    status, photo = client.ask("/api/images", encoded(scene(3, (40, 50))))
    assert (status, photo["size"], photo["original"], photo["note"]) == (201, [40, 50], [40, 50], "")
    where = f"/api/images/{photo['id']}"
    assert client.ask(where) == (200, photo)
    for path, start in (("/photo", b"\xff\xd8"), ("/prediction", b"\x89PNG")):
        status, content = client.ask(where + path, model=0, task="depth")
        assert (status, content[:2]) == (200, start[:2])
    status, look = client.ask(f"{where}/look", model=0)
    assert (status, look["contexts"]) == (200, GENOTYPE.contexts)
    status, found = client.ask(f"{where}/pixel", model=0, row=39, column=49, target="depth")
    assert (status, list(found["sources"])) == (200, ["semseg", "depth", "normals", "edge"])
    status, found = client.ask(f"{where}/region", model=0, task="depth", region=7)
    assert (status, found["grid"]) == (200, [10, 13])
    status, found = client.ask(f"{where}/pixel", model=1, row=39, column=49, target="depth")
    assert (status, set(found)) == (200, {"pixel", "values"})
    assert client.ask("/api/legend", model=0, task="normals")[1][:4] == b"\x89PNG"


def test_the_server_describes_itself(client):
    status, found = client.ask("/api/models")
    assert status == 200
    assert [model["name"] for model in found["models"]] == ["net/0", "net/1"]
    assert [task["name"] for task in found["models"][0]["tasks"]] == ["semseg", "depth", "normals", "edge"]
    context = found["contexts"]["t_label"]
    assert (context["name"], context["letter"], context["colour"]) == ("T-label", "T", "#228833")
    assert len({context["letter"] for context in found["contexts"].values()}) == 5  # not by colour alone
    kinds = {task["name"]: task["legend"]["kind"] for task in found["models"][0]["tasks"]}
    assert kinds == {"semseg": "classes", "depth": "bar", "normals": "ball", "edge": "bar"}
    ticks = found["models"][0]["tasks"][1]["legend"]["ticks"]
    assert ticks[-1] == [1.0, "10"]
    assert [text for _, text in ticks] == ["1", "2", "3", "5", "10"]


@pytest.mark.parametrize(
    ("path", "query", "status", "said"),
    [
        ("/api/images/nobody", {}, 404, "no longer on the server"),
        ("/api/images/example-99/photo", {}, 404, "no example 99; there are 2"),
        ("/api/images/example-0/look", {}, 400, "model is missing"),
        ("/api/images/example-0/look", {"model": -1}, 400, "model is '-1'; it has to be a whole number"),
        ("/api/images/example-0/look", {"model": 2}, 404, "no model 2; there are 2"),
        ("/api/images/example-0/prediction", {"model": 0, "task": "fly"}, 404, "no task 'fly'"),
        ("/api/images/example-0/pixel", {"model": 0, "row": 48, "column": 0}, 400, "is not in the image of 48x64"),
        ("/api/images/example-0/pixel", {"model": 0, "row": "1e3", "column": 0}, 400, "row is '1e3'"),
        ("/api/images/example-0/pixel", {"model": 0, "row": "9" * 99, "column": 0}, 400, "row is '9999"),
        ("/api/images/example-0/pixel", {"model": 0, "row": 1, "column": 1, "target": "x"}, 400, "no target 'x'"),
        (
            "/api/images/example-0/region",
            {"model": 0, "task": "depth", "region": 8},
            404,
            "no label region 8 of task 'depth'",
        ),
        ("/api/images/example-0/region", {"model": 1, "task": "depth", "region": 0}, 404, "no label region 0"),
        ("/api/legend", {"model": 0, "task": "depth"}, 400, "no ball of directions for task 'depth'"),
        ("/api/legend", {"model": 7, "task": "depth"}, 404, "no model 7"),
    ],
)
def test_a_wrong_request_gets_a_message(client, path, query, status, said):
    answer, content = client.ask(path, **query)
    assert answer == status
    assert said in content["error"]


def test_the_page_needs_nothing_from_elsewhere(client):
    folder = resources.files("atrc.app.explorer") / "page"
    names = [entry.name for entry in folder.iterdir()]
    assert {"index.html", "main.js", "base.css", "logo.svg"} <= set(names)
    for name in names:
        status, content = client.ask("/" if name == "index.html" else f"/{name}")
        assert status == 200
        assert content == (folder / name).read_bytes()
        addresses = set(re.findall(r"https?://[^\"'\s>]+", content.decode()))
        assert addresses <= {"http://www.w3.org/2000/svg"}
        policy = client.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert client.headers["x-content-type-options"] == "nosniff"
        assert client.headers["referrer-policy"] == "no-referrer"
    page = (folder / "index.html").read_text()
    assert not re.search(r"\son\w+=|style=|<style|<script>|javascript:", page)
    assert client.ask("/main.js")[0] == 200
    assert client.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path", ["/../serve.py", "/%2e%2e/serve.py", "/page/index.html", "/web.py", "/etc/passwd", "//x"]
)
def test_no_other_file_is_served(client, path):
    assert client.ask(path)[0] == 404
    assert client.headers["x-content-type-options"] == "nosniff"  # refusals are guarded too


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("[::1]:{port}", 200),
        ("evil.example:{port}", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.0.7:{port}", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_only_names_of_this_machine_are_answered(client, port, host, expected):
    status, content = client.ask("/api/models", headers={"Host": host.format(port=port)})
    assert status == expected
    if expected == 403:
        assert b"is not" in content


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://["])
def test_other_pages_cannot_upload_images(client, origin):
    assert client.ask("/api/images", encoded(scene(0)), {"Origin": origin})[0] == 403


def test_the_own_page_can(client, port):
    assert client.ask("/api/images", encoded(scene(0)), {"Origin": f"http://127.0.0.1:{port}"})[0] == 201


def test_other_pages_cannot_read_what_they_embed(client):
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        assert client.ask("/api/images/example-0/photo", headers={"Sec-Fetch-Site": site})[0] == status
    assert client.ask("/", headers={"Sec-Fetch-Site": "cross-site"})[0] == 200  # a link to the page


def test_a_server_for_others_answers_to_its_addresses_but_to_no_foreign_name():
    assert is_own_name("192.168.0.7:80", "0.0.0.0")
    assert is_own_name("lab.example", "lab.example")
    assert not is_own_name("evil.example", "0.0.0.0")
    assert not is_own_name("192.168.0.7", "localhost")
    assert refusal("GET", "/", {}, "127.0.0.1")


def test_other_methods_are_refused(client):
    assert client.ask("/api/models", b"x")[0] == 405
    assert client.ask("/api/images")[0] == 405


def test_simultaneous_visitors_get_their_own_answers(port, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    load = runpy.run_path(str(BENCHMARKS / "explorer_load.py"))["load"]
    found = load(port, clients=4, seconds=1.0, size=(48, 64))
    assert (found.wrong, found.errors) == (0, [])
    assert found.answers > 0


def test_the_snippet_of_the_page_asks_the_server(port, tmp_path):
    code = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]
    (tmp_path / "x.png").write_bytes(encoded(scene(4)))
    names = {}
    exec(compile(code.replace(":8760", f":{port}"), "explore.md", "exec"), names)
    found = names["attention"](tmp_path / "x.png", "semseg", 3, 4)
    assert {source: bool(regions) for source, regions in found.items()} == {
        "semseg": True, "depth": True, "normals": False, "edge": False,
    }  # fmt: skip


def test_the_page_names_the_limits_and_the_defaults():
    limits = Limits()
    for said in (
        f"{limits.upload // MEGABYTE} MB and {limits.pixels // 10**6} million pixels",
        f"{limits.images // MEGABYTE} MB, features and predictions up to {limits.looks // (1024 * MEGABYTE)} GB",
        f"Beyond {limits.waiting} waiting questions, or {limits.uploads // MEGABYTE} MB of files",
        "`default-src 'self'`",
    ):
        assert said in " ".join(PAGE.split())
    defaults = make_parser()[1]["explore"].get_defaults()
    for option, value in re.findall(r"^\| `--(\w+) ([\w.]+)` \|", PAGE, re.M):
        assert value.isupper() or str(defaults[option]) == value


def test_an_invalid_request_ends_its_connection_only(port, client):
    for nonsense in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as other:
            other.sendall(nonsense)
            assert b" 400 " in other.recv(100)
    assert client.ask("/api/models")[0] == 200
