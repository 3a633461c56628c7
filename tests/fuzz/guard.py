"""One hostile input, read in a folder of its own, with an eye on all that a reader must not do."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from atrc.errors import UserError

Files = dict[str, bytes]
Outcome = Literal["accepted", "refused", "fault"]

CANARY = "hostile_canary"  # what payloads call; no code that names it may ever run
MEMORY = 1 << 30  # that a case may take [bytes]
SECONDS = 10.0  # of the processor, that a case may take
LONGEST = 2000  # of an error [characters]

_STARTS = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "pty.spawn",
)
_REACHES = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.bind",
    "ftplib.connect",
    "smtplib.connect",
    "webbrowser.open",
)
_PATHS = {  # which arguments name something that is changed
    "os.remove": (0,), "os.rename": (0, 1), "os.mkdir": (0,), "os.rmdir": (0,), "os.symlink": (1,), "os.link": (1,),
    "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,), "os.mkfifo": (0,), "os.mknod": (0,),
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Breach(BaseException):
    """A reader did what none may; not an `Exception`, so that none swallows it."""


class Late(BaseException):
    """A case took too long."""


@dataclass(frozen=True)
class Verdict:
    """What became of a case."""

    outcome: Outcome
    reason: str = ""


class Watch:
    """Looks at what Python says that it does, while it is on. A hook cannot be taken away again, so there is one."""

    _the_one: Watch | None = None

    def __init__(self) -> None:
        self.folder: str | None = None
        self.thread, self.network = 0, False
        self.breaches: list[str] = []

    @classmethod
    def installed(cls) -> Watch:
        """Return the one watch of this process."""
        if cls._the_one is None:
            cls._the_one = cls()
            sys.addaudithook(cls._the_one)
        return cls._the_one

    @contextlib.contextmanager
    def on(self, folder: Path, network: bool) -> Iterator[list[str]]:
        """Watch this thread; yield the list of breaches."""
        self.breaches, self.network, self.thread = [], network, threading.get_ident()
        self.folder = os.path.realpath(folder)
        try:
            yield self.breaches
        finally:
            self.folder = None

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self.folder is None or threading.get_ident() != self.thread:
            return
        if breach := self._breach(event, args):
            self.breaches.append(breach)
            raise Breach(breach)

    def _breach(self, event: str, args: tuple[Any, ...]) -> str:
        if event in _STARTS or event == "pickle.find_class":
            return f"{event} {args[:2]!r:.200}"
        if event in _REACHES and not self.network:
            return f"{event} {args[1:]!r:.200}"
        if event == "open":
            path, mode, flags = args
            writes = (isinstance(flags, int) and flags & _WRITING) or (mode and set(mode) & set("wax+"))
            return f"writes {path!r}" if writes and self._outside(path) else ""
        if event in _PATHS:
            outside = [args[i] for i in _PATHS[event] if self._outside(args[i], args[-1])]
            return f"{event} {outside[0]!r}" if outside else ""
        if event == "exec":
            named = (*getattr(args[0], "co_names", ()), *getattr(args[0], "co_consts", ()))
            return "exec of the payload" if any(CANARY in str(name) for name in named) else ""
        return ""

    def _outside(self, path: Any, folder: Any = None) -> bool:
        if isinstance(path, int):
            return False  # a file that is open already
        path = os.fsdecode(path)
        if path == os.devnull or "/__pycache__" in path:  # what Python and numba keep of modules imported late
            return False
        if isinstance(folder, int) and folder >= 0:
            path = f"{os.readlink(f'/proc/self/fd/{folder}')}/{path}" if path[:1] != "/" else path  # noqa: PTH115
        parent, _, name = path.rstrip("/").rpartition("/")
        where = f"{os.path.realpath(parent or ('/' if path[:1] == '/' else '.'))}/{name}"
        return where != self.folder and not where.startswith(f"{self.folder}/")


class Sandbox:
    """A folder for the files of a case, some way down in a tree whose rest must stay as it is."""

    def __init__(self, base: Path) -> None:
        self.base, self.inside = base, base / "one" / "two" / "inside"

    def fill(self, files: Files) -> None:
        """Put nothing but these files there."""
        shutil.rmtree(self.inside, ignore_errors=True)
        self.inside.mkdir(parents=True)
        for name, content in files.items():
            path = self.inside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def strays(self) -> list[str]:
        """Return what lies outside the folder."""
        levels = ((self.base, {"one"}), (self.base / "one", {"two"}), (self.base / "one" / "two", {"inside"}))
        return [entry.path for folder, own in levels for entry in os.scandir(folder) if entry.name not in own]


def attempt(read: Callable[[Path], object], sandbox: Sandbox, files: Files, network: bool = False) -> Verdict:
    """Read files; anything but a value or a `UserError` of one line is a fault."""
    sandbox.fill(files)
    _reset_peak()
    before, verdict = _memory(), Verdict("accepted")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Watch.installed().on(sandbox.inside, network) as breaches, _limited():
            try:
                read(sandbox.inside)
            except UserError as error:
                verdict = _refusal(str(error))
            except MemoryError:
                verdict = Verdict("fault", "MemoryError")
            except (Exception, Breach, Late) as error:
                verdict = Verdict("fault", f"{type(error).__name__}: {error}"[:300])
    if breaches:
        return Verdict("fault", breaches[0])
    if caught:
        return Verdict("fault", f"{caught[0].category.__name__}: {caught[0].message}"[:300])
    if strays := sandbox.strays():
        return Verdict("fault", f"left {strays[0]} outside the folder")
    if (taken := _memory(peak=True) - before) > MEMORY:
        return Verdict("fault", f"took {taken >> 20} MiB of memory")
    return verdict


def limit_memory(extra: int = 3 * MEMORY) -> None:
    """Let this process have no more address space than so much over what it has."""
    total = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + extra
    resource.setrlimit(resource.RLIMIT_AS, (total, total))


def _refusal(message: str) -> Verdict:
    if not message.isprintable() or len(message) > LONGEST:
        return Verdict("fault", f"an error of {len(message)} characters that is not one line: {message!r:.200}")
    return Verdict("refused", message)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise `Late` when the time of the processor is up; only the main thread has such a clock."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        raise Late(f"more than {SECONDS:g} s")

    old = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # not allowed everywhere
        Path("/proc/self/clear_refs").write_text("5")


def _memory(peak: bool = False) -> int:
    """Return the memory of this process now, or its peak since `_reset_peak` [bytes]."""
    key = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))
