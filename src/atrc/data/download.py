"""Downloads that go on where they broke off."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tqdm import tqdm

from atrc.errors import UserError

ATTEMPTS = 5  # that bring nothing new
PAUSE = 1.0  # between attempts [s]
TIMEOUT = 30  # of a silent connection [s]
CHUNK = 1 << 20
BROKEN = (ConnectionError, TimeoutError, http.client.HTTPException)  # what a connection that breaks off raises


def fetch(url: str, archive: Path, sha256: str | None = None) -> Path:
    """Download a file; what an interrupted download left in `<archive>.part` is continued.

    Args:
        url: An http or https address.
        archive: Where the file goes.
        sha256: Its checksum, where known.

    Raises:
        UserError: No connection, no such file, not enough space, or another checksum.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"url '{url}': give an address that begins with http:// or https://")
    part, state = archive.with_name(f"{archive.name}.part"), archive.with_name(f"{archive.name}.part.version")
    try:
        _complete(url, part, state)
        if sha256 and (found := file_sha256(part)) != sha256.lower():
            part.unlink()
            state.unlink(missing_ok=True)
            raise UserError(f"{url}: SHA-256 is {found}, not {sha256}; check the address and the checksum")
        state.unlink(missing_ok=True)
        return part.replace(archive)
    except urllib.error.HTTPError as error:
        error.close()
        raise UserError(f"{url}: the server answers {error.code} {error.reason}; check the address") from None
    except urllib.error.URLError as error:
        raise UserError(
            f"{url}: cannot be reached ({error.reason}); check the network, or copy the file to "
            f"{archive} by other means"
        ) from None
    except UserError:
        raise
    except (ValueError, OverflowError) as error:  # addresses, lengths and headers that none can be
        raise UserError(f"{url}: the server answers with nonsense ({error}); check the address") from None
    except OSError as error:
        raise UserError(
            f"{part}: cannot be written ({error.strerror or error}); make room or choose a folder"
        ) from None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    bar = tqdm(total=path.stat().st_size, desc=f"sha256 {path.name}", unit="B", unit_scale=True, disable=None)
    with path.open("rb") as file, bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def _complete(url: str, part: Path, state: Path) -> None:
    idle = 0
    while idle < ATTEMPTS:
        before = part.stat().st_size if part.exists() else 0
        if _advance(url, part, state):
            return
        idle = 0 if part.exists() and part.stat().st_size > before else idle + 1
        time.sleep(PAUSE)
    raise UserError(f"{url}: the connection breaks off again and again; run it again to continue from {part}")


def _advance(url: str, part: Path, state: Path) -> bool:
    """Ask for what is missing and append it; return whether the file is whole."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "atrc"}
    if done:
        headers["Range"] = f"bytes={done}-"
        if state.exists():  # another version of the file is sent from its beginning
            headers["If-Range"] = state.read_text(encoding="utf-8")
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
            return _save(response, part, state, done)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not done:
            raise
        error.close()
        whole = _total(error.headers.get("Content-Range"))
        if whole != done:  # more than there is: not the same file
            part.unlink()
        return whole == done
    except BROKEN as error:
        print(f"{url}: broke off ({error})", file=sys.stderr)
        return False


def _save(response: http.client.HTTPResponse, part: Path, state: Path, done: int) -> bool:
    headers = response.headers
    if headers.get_content_type() == "text/html":
        raise UserError(f"{response.url}: a web page, not an archive; download the file itself with a browser")
    start, total = 0, None
    if response.status == 206:
        start, total = done, _total(headers.get("Content-Range"))
        if not (headers.get("Content-Range") or "").startswith(f"bytes {done}-"):  # not what was asked for
            part.unlink()
            return False
    elif re.fullmatch("[0-9]{1,18}", length := headers.get("Content-Length") or ""):
        total = int(length)
    _require_space(part, (total or 0) - start)
    _remember(headers, state)
    bar = tqdm(total=total, initial=start, desc=part.stem, unit="B", unit_scale=True, disable=None)
    with part.open("ab" if start else "wb") as file, bar:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    return total is None or part.stat().st_size == total


def _total(content_range: str | None) -> int | None:
    """Return the whole length that a Content-Range states.

    >>> _total("bytes 5-9/10"), _total("bytes */10"), _total(None)
    (10, 10, None)
    """
    match = re.search(r"/([0-9]{1,18})$", content_range or "")
    return int(match[1]) if match else None


def _remember(headers: http.client.HTTPMessage, state: Path) -> None:
    tag = headers.get("ETag") or ""
    version = tag if tag.startswith('"') else headers.get("Last-Modified")
    state.unlink(missing_ok=True)
    if version:
        state.write_text(version, encoding="utf-8")


def _require_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise UserError(
            f"{part}: {needed / 1e9:.1f} GB are to come, but only {free / 1e9:.1f} GB are free; make room or choose "
            "another disk"
        )
