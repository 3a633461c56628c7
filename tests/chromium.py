"""A browser without a head, driven through its DevTools protocol over two pipes: nothing to install but Chromium."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe"),
)
# The browser reads commands from descriptor 3 and writes answers to 4, each ended by a zero byte.
START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)


def find_chromium() -> str | None:
    """Return a browser, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Pipe:
    """Commands to the browser, and what it says."""

    def __init__(self, reading: int, writing: int, patience: float) -> None:
        self.reading, self.writing, self.patience = reading, writing, patience
        self.count, self.buffer = 0, b""
        self.events: list[dict[str, Any]] = []

    def command(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come meanwhile are kept."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.writing, data) :]
        until = time.monotonic() + self.patience
        while (answer := self._read(until)).get("id") != self.count:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _read(self, until: float) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            if not select.select([self.reading], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            chunk = os.read(self.reading, 1 << 20)
            if not chunk:
                raise RuntimeError("the browser has ended")
            self.buffer += chunk
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)


class Page:
    """A page of the browser."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.target = pipe.command("Target.createTarget", url="about:blank")["targetId"]
        self.session = pipe.command("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol."""
        return self.pipe.command(method, self.session, **parameters)

    def emulate(self, width: int, height: int, *, scale: float = 1.0, dark: bool = False, phone: bool = False) -> None:
        """Set the size of the window [px] and what the visitor prefers."""
        sizes = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}
        self("Emulation.setDeviceMetricsOverride", **sizes)
        colours = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[colours])

    def open(self, url: str) -> None:
        """Load a page."""
        self("Page.navigate", url="about:blank")  # the same page with another # would not load
        self("Page.navigate", url=url)

    def run(self, code: str) -> Any:
        """Return the value of an expression, or of what it promises."""
        found = self("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", code))
        return found["result"].get("value")

    def wait(self, code: str, seconds: float = 30.0) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(RuntimeError):  # the page may not be there yet
                if self.run(f"Boolean({code})"):
                    return
            time.sleep(0.05)
        raise TimeoutError(
            f"not within {seconds} s: {code}; the page says {self.text('#message')!r}; {self.problems()}"
        )

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return self.run(f"document.querySelector({selector!r})?.textContent ?? ''").strip()

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click an element at a share of its width and height."""
        code = f"document.querySelector({selector!r})"
        self.run(f"{code}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        left, top, width, height = self.run(f"(b => [b.x, b.y, b.width, b.height])({code}.getBoundingClientRect())")
        place = {"x": left + x * width, "y": top + y * height, "button": "left", "clickCount": 1}
        for kind, buttons in (("mousePressed", 1), ("mouseReleased", 0)):
            self("Input.dispatchMouseEvent", type=kind, buttons=buttons, **place)

    def press(self, key: str, *, code: int = 0, shift: bool = False) -> None:
        """Press a key by its name in JavaScript; those that the browser itself acts on need their code."""
        text = {"Enter": "\r", " ": " "}.get(key)
        values = {"key": key, "modifiers": 8 * shift, "windowsVirtualKeyCode": code}
        self("Input.dispatchKeyEvent", type="keyDown", **values, **({"text": text} if text else {}))
        self("Input.dispatchKeyEvent", type="keyUp", **values)

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose the file of an input."""
        root = self("DOM.getDocument")["root"]["nodeId"]
        node = self("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path: Path) -> None:
        """Write what is in the window as PNG."""
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot", format="png")["data"]))

    def requested(self) -> list[str]:
        """Return the addresses of all requests so far."""
        return [event["params"]["request"]["url"] for event in self._events("Network.requestWillBeSent")]

    def problems(self) -> list[str]:
        """Return what went wrong in the page: exceptions, and what the browser logged as errors."""
        thrown = [event["params"]["exceptionDetails"]["text"] for event in self._events("Runtime.exceptionThrown")]
        logged = [event["params"]["entry"] for event in self._events("Log.entryAdded")]
        return thrown + [entry["text"] for entry in logged if entry["level"] == "error"]

    def close(self) -> None:
        """Close the page."""
        self.pipe.command("Target.closeTarget", targetId=self.target)

    def _events(self, method: str) -> list[dict[str, Any]]:
        return [one for one in self.pipe.events if one.get("method") == method and one.get("sessionId") == self.session]


@contextlib.contextmanager
def browsing(executable: str, patience: float = 60.0) -> Iterator[Callable[[], Page]]:
    """Start a browser with a fresh profile; yield what opens a page.

    Args:
        executable: The browser.
        patience: Until it has to answer [s].
    """
    with TemporaryDirectory(prefix="atrc-browser-", ignore_cleanup_errors=True) as profile:
        pipes = [os.pipe(), os.pipe()]
        (theirs_in, ours_out), (ours_in, theirs_out) = pipes
        far = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (theirs_in, theirs_out)]  # not 3 or 4
        words = [sys.executable, "-c", START, *map(str, far), executable, *FLAGS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(words, pass_fds=far, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for end in (theirs_in, theirs_out, *far):
            os.close(end)
        pipe = Pipe(ours_in, ours_out, patience)
        try:
            yield lambda: Page(pipe)
        finally:
            with contextlib.suppress(RuntimeError, OSError, TimeoutError):
                pipe.command("Browser.close")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(ours_in)
            os.close(ours_out)
