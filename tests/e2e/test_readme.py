"""README.md's consoles are typed in a terminal, in order, against a real server: it shows what a reader sees."""

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from tests.harness import ROOT, Server

README = (ROOT / "README.md").read_text()
TYPED = re.compile(r"(?:printf [^|]*\| )?faasctl (?:new|up|invoke|explain|secret|list|describe|logs|remove)\b")
ELSEWHERE = "functions/"
"""Commands that name a folder of the repository need packages; the demo's test has them."""
COLUMNS = 160
"""Room for every row that faasctl shows."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One command of a console block, and the lines below it."""

    command: str
    lines: tuple[str, ...]


def commands_of(text: str) -> list[Shown]:
    """All consoles' commands in order, of which this test types those that end by themselves."""
    found: list[Shown] = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            if TYPED.match(command) and ELSEWHERE not in command:
                found.append(Shown(command, tuple(line for line in lines if line.strip())))
    return found


class Paper:
    """What a terminal shows after a program wrote to it: enough of one for lines that are drawn again."""

    CODE = re.compile(r"\x1b\[\??(\d*)(?:;\d+)*([A-Za-z])|\r|\n|[^\x1b\r\n]+")

    def __init__(self, written: str) -> None:
        self._lines = [""]
        self._row = self._column = 0
        for match in self.CODE.finditer(written):
            self._put(match[0], int(match[1] or 1), match[2])

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._lines if line.strip()]

    def _put(self, text: str, count: int, code: str | None) -> None:
        if code == "A":
            self._row = max(0, self._row - count)
        elif code == "K":
            self._lines[self._row] = ""
        elif text == "\r":
            self._column = 0
        elif text == "\n":
            self._row += 1
            self._lines += [""] * (self._row + 1 - len(self._lines))
        elif code is None:
            line = self._lines[self._row].ljust(self._column)
            self._lines[self._row] = line[: self._column] + text + line[self._column + len(text) :]
            self._column += len(text)


def masked(line: str) -> str:
    """Without what is another one each time: durations, ids, ports, and the spaces that align them."""
    line = re.sub(r"(?:\w+ \d+\.\d+ · )+\w+ \d+\.\d+", "PHASES", line)
    line = re.sub(r"\b\d+(?:\.\d+)? (?:ms|s|m)\b", "TIME", line)
    line = re.sub(r"\b(?=\w*\d)[0-9a-f]{4,}\b", "ID", line)
    line = re.sub(r"http://[\w.]+:(?:\d+|ID)", "SERVER", line)
    return re.sub(r"\s+", " ", line).strip()


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who types what README shows, in a folder of their own."""

    server: Server
    folder: Path

    def types(self, command: str) -> tuple[int, list[str]]:
        """Its exit status, and what the terminal shows of it."""
        faasctl = f'faasctl() {{ {shlex.quote(sys.executable)} -m faasctl "$@"; }}; '
        own = {"TOKEN": "s3cret", "TERM": "xterm", "COLUMNS": str(COLUMNS)}
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, COLUMNS, 0, 0))
        with os.fdopen(ours, "rb", buffering=0) as screen:
            process = subprocess.Popen(
                ["bash", "-c", f"set -o pipefail; {faasctl}{command}"],
                cwd=self.folder, env=self.server.environment | own,
                stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            )  # fmt: skip
            os.close(theirs)
            written = _all_of(screen.fileno())
        return process.wait(60), Paper(written.decode()).lines()

    def makes_the_mistake_of(self, shown: Shown) -> None:
        """An error that README shows quotes a line of the handler; the handler gets this line."""
        for line in shown.lines:
            if quoted := re.match(r" *(\d+) \| (.*)$", line):
                lines = self.handler.read_text().splitlines()
                lines[int(quoted[1]) - 1] = quoted[2]
                self.handler.write_text("\n".join(lines) + "\n")

    def follows_the_remark_of(self, shown: Shown) -> None:
        """`faasctl up  # with `secrets: [api-key]`` means a line of the stack file."""
        for entry in re.findall(r"#.*`(\w+: [^`]+)`", shown.command):
            with (self.folder / "stack.yaml").open("a") as stack:
                stack.write(f"    {entry}\n")

    @property
    def handler(self) -> Path:
        return self.folder / "greet" / "handler.py"


def _all_of(descriptor: int) -> bytes:
    """To the end, which a terminal says with an error."""
    read = b""
    while True:
        try:
            block = os.read(descriptor, 65536)
        except OSError:
            return read
        if not block:
            return read
        read += block


def test_what_the_readme_shows_is_what_a_reader_sees(server: Server) -> None:
    reader = Reader(server, server.folder / "reader")
    reader.folder.mkdir()
    for shown in commands_of(README):
        before = reader.handler.read_text() if reader.handler.exists() else None
        reader.makes_the_mistake_of(shown)
        reader.follows_the_remark_of(shown)
        status, lines = reader.types(shown.command)
        wrong = any(line.startswith("error[") for line in shown.lines)
        assert (status != 0) == wrong, (shown.command, lines)
        if shown.lines:
            assert [*map(masked, lines)] == [*map(masked, shown.lines)], shown.command
        if wrong and before is not None:
            reader.handler.write_text(before)


def test_the_handler_that_the_readme_shows_greets(tmp_path: Path) -> None:
    [source] = re.findall(r"^```python\n# greet/handler\.py.*?\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(source, names)
    handle = names["handle"]
    assert callable(handle)
    assert handle(SimpleNamespace(body=b"ada"), None) == "Hello, ada!\n"
    assert handle(SimpleNamespace(body=b""), None) == "Hello, world!\n"


def test_a_line_that_was_drawn_again_is_read_once() -> None:
    written = "one\r\x1b[2Ktwo\r\n\x1b[1A\x1b[2Kthree \x1b[32mgreen\x1b[0m\r\nend\r\n"
    assert Paper(written).lines() == ["three green", "end"]
