"""Files as a function: what lies under one folder, for GET and HEAD."""

import asyncio
import os
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO
from urllib.parse import unquote

from pilotlight_runtime.http1 import RequestHead
from pilotlight_runtime.watchdog_answer import PIECE_BYTES, Answer, Body, TooSlow, target_of
from pilotlight_runtime.watchdog_config import Config
from pilotlight_runtime.watchdog_program import TEXT

_TYPES = {
    ".html": "text/html; charset=utf-8", ".htm": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".json": "application/json",
    ".txt": "text/plain; charset=utf-8", ".md": "text/plain; charset=utf-8", ".xml": "text/xml; charset=utf-8",
    ".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif",
    ".webp": "image/webp", ".ico": "image/x-icon", ".pdf": "application/pdf", ".wasm": "application/wasm",
    ".woff": "font/woff", ".woff2": "font/woff2", ".mp4": "video/mp4", ".webm": "video/webm",
}  # fmt: skip


class Files:
    leaves_with_client = True

    def __init__(self, config: Config) -> None:
        self._root = Path(config.static_path).resolve()

    @property
    def words(self) -> str:
        return f"files: {self._root}"

    async def run(self) -> str:
        if self._root.is_dir():
            await asyncio.Event().wait()
        return f"there is no folder {self._root} (static_path)"

    async def is_ready(self) -> bool:
        return True

    async def respond(self, head: RequestHead, body: Body, answer: Answer, timeout: float) -> None:
        del timeout  # a client that takes nothing is ended by write_timeout
        await body.whole()
        path, query = target_of(head)
        if head.method not in (b"GET", b"HEAD"):
            answer.say(405, b"", (b"Allow", b"GET, HEAD"))
            return
        found = find(self._root, path)
        if found is None:
            answer.say(404, b"404 page not found\n", TEXT)
        elif isinstance(found, str):  # a folder's page, whose own links are relative to it
            answer.say(301, b"", (b"Location", (found + (f"?{query}" if query else "")).encode("latin-1")))
        else:
            with found:
                await _send(found, head, answer)


def find(root: Path, path: str) -> IO[bytes] | str | None:
    """The file that a path names, opened; a path to go to instead; or None. Nothing outside of `root`, by no link."""
    name = unquote(path, errors="surrogateescape")
    if "\0" in name:
        return None
    try:
        wanted = (root / name.lstrip("/")).resolve()
        if not wanted.is_relative_to(root):
            return None
        if S_ISDIR(wanted.stat().st_mode):
            if not path.endswith("/"):
                return "./" + path.rpartition("/")[2] + "/"
            wanted = (wanted / "index.html").resolve()
        if not wanted.is_relative_to(root) or not S_ISREG(wanted.stat().st_mode):
            return None
        return wanted.open("rb")
    except OSError:
        return None


async def _send(file: IO[bytes], head: RequestHead, answer: Answer) -> None:
    facts = os.fstat(file.fileno())
    suffix = Path(file.name).suffix.lower()
    headers = [
        (b"Content-Type", _TYPES.get(suffix, "application/octet-stream").encode()),
        (b"Last-Modified", formatdate(facts.st_mtime, usegmt=True).encode()),
    ]
    since = next((value for name, value in head.headers if name.lower() == b"if-modified-since"), None)
    if since is not None and _unchanged(since.decode("latin-1"), facts.st_mtime):
        answer.say(304, b"", *headers)
        return
    answer.begin(200, headers, facts.st_size)
    left = facts.st_size if head.method == b"GET" else 0
    try:
        while left and (data := file.read(min(left, PIECE_BYTES))):
            left -= len(data)
            await answer.piece(data)
    except TooSlow:
        left = 1
    if left:  # it became shorter, or its client takes too long
        answer.cut()
    else:
        answer.finish()


def _unchanged(since: str, modified: float) -> bool:
    try:
        return parsedate_to_datetime(since).timestamp() >= int(modified)
    except ValueError:
        return False
