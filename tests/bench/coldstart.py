"""How long does the first call of a cold function take, and where does the time go?

    python tests/bench/coldstart.py [--provider process] [--count 50] [--cases hello,digits] [--json FILE]

To the first byte of the answer, through the router, on a connection that is open already; the function was scaled to
zero before each call and the spares of its environment had time to come back (except in hello-nozygote, where every
zygote was killed just before). Phases are those of `Server-Timing`.
"""

import contextlib
import os
import re
import signal
import socket
import sys
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import _report
from tests.bench._report import Row, percentile
from tests.harness import ROOT, Server, wait_for

HELLO = (ROOT / "functions/hello/handler.py").read_text()
BALLAST_MIB = 300
REST_SECONDS = 0.25
"""Between scale to zero and the call, for spares to be forked again and the machine to be idle."""


def main() -> None:
    parser = _report.arguments(__doc__)
    parser.add_argument("--provider", default="process", choices=["process"])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--cases", default="hello,hello-nozygote,hello-300MB,digits")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for case in arguments.cases.split(","):
        with Server(f"--provider={arguments.provider}") as server:
            name, body, before = CASES[case](server)
            rows += _measure(server, case, name, body, before, arguments.count)
    _report.write("coldstart", rows, arguments.json)


def _hello(server: Server) -> tuple[str, bytes, Callable[[], None]]:
    server.deploy("hello", HELLO)
    return "hello", b"ada", lambda: None


def _without_zygote(server: Server) -> tuple[str, bytes, Callable[[], None]]:
    server.deploy("hello", HELLO)

    def kill_zygotes() -> None:
        for pid in server.processes()["zygote"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    return "hello", b"ada", kill_zygotes


def _with_ballast(server: Server) -> tuple[str, bytes, Callable[[], None]]:
    """A zygote that holds 300 MiB: the handler imports a package that allocates them."""
    wheels = server.folder / "wheels"
    wheels.mkdir()
    _write_ballast_wheel(wheels)
    server.end()
    server._variables["PIP_FIND_LINKS"] = str(wheels)
    server.start()
    handler = "import pilotlight_ballast\n" + HELLO
    server.deploy("ballast", handler, requirements="pilotlight-ballast==1.0\n")
    return "ballast", b"ada", lambda: None


def _digits(server: Server) -> tuple[str, bytes, Callable[[], None]]:
    ran = server.faasctl("up", "-f", str(ROOT / "functions/stack.yaml"), "--filter", "digits")
    assert ran.code == 0, ran
    sample = min((ROOT / "functions/digits/samples").iterdir())
    return "digits", sample.read_bytes(), lambda: None


CASES = {
    "hello": _hello,
    "hello-nozygote": _without_zygote,
    "hello-300MB": _with_ballast,
    "digits": _digits,
}


def _measure(server: Server, case: str, name: str, body: bytes, before: Callable[[], None], count: int) -> list[Row]:
    times: list[float] = []
    phases: dict[str, list[float]] = defaultdict(list)
    for _ in range(count):
        server.api("POST", f"/api/v1/functions/{name}/scale", {"replicas": 0})
        wait_for(lambda: not server.function(name)["replicas_detail"], what="scale to zero")
        time.sleep(REST_SECONDS)
        before()
        took, head = _first_byte(server, name, body)
        times.append(took)
        for phase, milliseconds in re.findall(r"([\w-]+);dur=([\d.]+)", head):
            phases[phase].append(float(milliseconds))
    rows = [
        Row(case, metric, value, "ms")
        for metric, value in (
            ("p50", percentile(times, 0.50)),
            ("p95", percentile(times, 0.95)),
            ("max", max(times)),
        )
    ]
    return rows + [Row(case, f"phase {phase} p50", percentile(v, 0.5), "ms") for phase, v in phases.items()]


def _first_byte(server: Server, name: str, body: bytes) -> tuple[float, str]:
    """Milliseconds to the answer's first byte, and its Server-Timing."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        time.sleep(0.005)
        head = f"POST /function/{name} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
        began = time.perf_counter()
        connection.sendall(head.encode() + body)
        answer = connection.recv(65536)
        took = (time.perf_counter() - began) * 1000
    assert answer.startswith(b"HTTP/1.1 200"), answer
    match = re.search(r"server-timing: ([^\r]*)", answer.decode("latin-1"), re.IGNORECASE)
    assert match is not None, f"the call was not cold: {answer!r}"
    return took, match[1]


def _write_ballast_wheel(folder: Path) -> None:
    source = f"BALLAST = bytearray({BALLAST_MIB} * 2**20)\nBALLAST[::4096] = b'x' * len(BALLAST[::4096])\n"
    info = "pilotlight_ballast-1.0.dist-info"
    with zipfile.ZipFile(folder / "pilotlight_ballast-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pilotlight_ballast.py", source)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: pilotlight-ballast\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


if __name__ == "__main__":
    main()
