"""Images of any kind are accepted, other files get a message, and the server goes on."""

import asyncio
import contextlib
import http.client
import socket
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from starlette.requests import ClientDisconnect, Request

from atrc.app.explorer.limits import Limits, TooLargeError
from atrc.app.explorer.uploads import Uploads
from explorer_network import Client, encoded, make_explorer, make_network, scene, serving

LIMITS = Limits(upload=300_000, uploads=400_000, seconds=1.0)


@pytest.fixture(scope="module")
def port():
    with serving(make_explorer(make_network(), limits=LIMITS)) as port:
        yield port


@pytest.fixture
def client(port):
    """Send requests, and check at the end that the server still works."""
    with Client(port) as client:
        yield client
    with Client(port) as other:
        name = other.ask("/api/images", encoded(scene(9)))[1]["id"]
        assert other.ask(f"/api/images/{name}/look", model=0)[0] == 200


def images():
    image = Image.fromarray(scene(1))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(scene(1)[..., 0].astype(np.uint16) << 8)
    frames = [Image.fromarray(scene(i)) for i in range(3)]
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(scene(2)[..., 0]))
    wide = Image.new("RGB", (20_000, 2), "red")
    return {
        "one pixel": (encoded(Image.new("RGB", (1, 1))), [1, 1]),
        "20,000 pixels wide": (encoded(wide), [1, 640]),
        "animated GIF": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), [48, 64]),
        "CMYK": (encoded(image.convert("CMYK"), "JPEG"), [48, 64]),
        "16 bits": (encoded(deep), [48, 64]),
        "palette": (encoded(image.quantize(16)), [48, 64]),
        "black and white": (encoded(image.convert("1")), [48, 64]),
        "transparent": (encoded(clear), [48, 64]),
        "lying on its side": (encoded(image, "JPEG", exif=turned), [64, 48]),
        "WebP": (encoded(image, "WEBP"), [48, 64]),
    }


@pytest.mark.parametrize("kind", images())
def test_any_image_is_analysed(client, kind):
    content, size = images()[kind]
    status, photo = client.ask("/api/images", content)
    assert (status, photo["size"]) == (201, size)
    assert photo["note"] == ("the first of several frames" if kind == "animated GIF" else "")
    for path in ("look", "prediction", "pixel"):
        query = {"model": 0, "task": "semseg", "row": size[0] - 1, "column": size[1] - 1, "target": "semseg"}
        assert client.ask(f"/api/images/{photo['id']}/{path}", **query)[0] == 200


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_that_claims(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")


def multipart(content, name):
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--x--\r\n"


HOSTILE = {
    "nothing": (b"", "an empty file"),
    "text": (b"I am photo.jpg", "not a readable image"),
    "half a picture": (encoded(scene(1))[:200], "cannot be read"),
    "a bomb": (png_that_claims(60_000, 60_000), "60000 x 60000 pixels, more than the 50000000 allowed"),
    "few bytes for many pixels": (png_that_claims(5000, 5000), "cannot be read"),
    "no pixels": (png_that_claims(0, 10), "not a readable image"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable image"),
    "a page": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not a readable image"),
    "a form with a path": (multipart(encoded(scene(1)), "../../etc/passwd"), "not a readable image"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_is_not_an_image_gets_a_message(client, kind):
    content, said = HOSTILE[kind]
    headers = {"Content-Type": "multipart/form-data; boundary=x"} if "form" in kind else {}
    status, answer = client.ask("/api/images", content, headers)
    assert status == 400
    assert answer["error"].startswith("this file: ")
    assert said in answer["error"]


def test_too_large_a_file_is_refused_by_its_header(client):
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
    connection.putrequest("POST", "/api/images")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    answer = connection.getresponse()  # before a byte of it is sent
    assert answer.status == 413
    assert b"larger than 0.286102 MB" in answer.read()
    connection.close()


def test_too_large_a_file_is_refused_while_it_arrives(client):
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as raw:
        raw.sendall(b"POST /api/images HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(5):
            raw.sendall(b"13880\r\n" + bytes(80_000) + b"\r\n")
        assert b" 413 " in raw.recv(1000)


def test_too_many_bytes_at_a_time_are_put_off(client):
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as other:
        other.sendall(
            b"POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 290000\r\n\r\n" + bytes(280_000)
        )
        time.sleep(0.2)
        status, answer = client.ask("/api/images", bytes(250_000))
        assert (status, client.headers["retry-after"]) == (503, "1")
        assert "too many files arrive at a time" in answer["error"]
        assert b" 400 " in other.recv(1000)  # it has waited too long for the rest
    assert client.ask("/api/images", bytes(250_000))[0] == 400  # its place is free


def test_a_file_counts_until_its_work_is_done_even_if_its_visitor_left(monkeypatch):
    started, gate, done = threading.Event(), threading.Event(), []

    def add(content):
        started.set()
        gate.wait(20)
        done.append(len(content))
        return {}

    explorer = make_explorer(make_network(), limits=LIMITS)
    monkeypatch.setattr(explorer, "add", add)
    head = b"POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 290000\r\n\r\n"
    with serving(explorer) as port, Client(port) as client:
        for _ in range(3):  # only the first has a place
            with socket.create_connection(("127.0.0.1", port), timeout=20) as leaving:
                leaving.sendall(head + bytes(290_000))
                assert started.wait(20)
        time.sleep(0.2)
        status, answer = client.ask("/api/images", bytes(250_000))
        assert (status, "too many files" in answer["error"]) == (503, True)
        gate.set()
        while client.ask("/api/images", bytes(250_000))[0] == 503:  # until the first is done
            time.sleep(0.01)
    assert done == [290_000, 250_000]


@pytest.mark.parametrize("body", [[b"abc", b"de"], [b"abc", None], [bytes(200_000), bytes(200_000)]])
def test_nothing_stays_counted(body):
    """A whole file, one that ends midway, and one that is too large."""
    uploads, left = Uploads(LIMITS), list(body)

    async def receive():
        chunk = left.pop(0)
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": bool(left)}

    async def take():
        async with uploads.taking(Request({"type": "http", "headers": []}, receive)) as content:
            assert (content, uploads.held) == (b"abcde", 5)

    with contextlib.suppress(ClientDisconnect, TooLargeError):
        asyncio.run(take())
    assert (left, uploads.held) == ([], 0)


def test_a_file_that_does_not_arrive_completely_ends_after_a_while(client):
    head = b"POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as slow:
        slow.sendall(head)
        answer = b""
        while b"took more than 1 s to arrive" not in answer:  # the head and the body may come apart
            part = slow.recv(2000)
            assert part, answer
            answer += part
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as gone:
        gone.sendall(head)


@pytest.mark.parametrize("length", ["-5", "abc", "3, 4", "1e3"])
def test_an_invalid_length_is_refused(client, length):
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as raw:
        raw.sendall(f"POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode())
        assert b" 400 " in raw.recv(1000)


def test_a_length_that_is_too_short_cuts_the_file(client):
    content = encoded(scene(1))
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as raw:
        raw.sendall(b"POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n" + content)
        assert b" 400 " in raw.recv(2000)


def test_a_failure_of_the_network_is_a_message(client, monkeypatch):
    def fail(*_):
        raise RuntimeError("not enough memory: you tried to allocate 1 TB\nmore")

    monkeypatch.setattr("atrc.app.explorer.model.Model.look", fail)
    name = client.ask("/api/images", encoded(scene(77)))[1]["id"]
    status, answer = client.ask(f"/api/images/{name}/look", model=0)
    assert status == 500
    assert answer["error"].startswith("the network failed (not enough memory: you tried to allocate 1 TB); try")
    monkeypatch.undo()
