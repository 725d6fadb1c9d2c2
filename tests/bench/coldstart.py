"""How long does the first call of a cold function take, and where does the time go?

    python tests/bench/coldstart.py [--provider process|docker] [--count 50] [--cases hello,digits] [--json FILE]

To the first byte of the answer, through the router, on a connection that is open already; the function was scaled to
zero before each call and the spares of its environment had time to come back (except in hello-nozygote, where every
zygote was killed just before). Phases are those of `Server-Timing`.

On docker: hello from the pool; hello-paused the same image as one that is not ours, from its paused standby;
hello-unpooled that image without a standby; docker-run the engine alone, from `docker run` of it to the first answer.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
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
    parser.add_argument("--provider", default="process", choices=["process", "docker"])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--cases", help="all of the provider's, unless some are named")
    arguments = parser.parse_args()
    cases = CASES if arguments.provider == "process" else DOCKER_CASES
    rows: list[Row] = []
    for case in (arguments.cases or ",".join(cases)).split(","):
        settings = {"docker.standbys": 0} if case == "hello-unpooled" else {}
        with Server(f"--provider={arguments.provider}", settings=settings) as server:
            if case == "docker-run":
                rows += _engine_alone(server, arguments.count)
                continue
            name, body, before = cases[case](server)
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


def _as_an_image(server: Server) -> tuple[str, bytes, Callable[[], None]]:
    """The same image, deployed as a ready-made one."""
    answer = server.api("POST", "/system/functions", {"service": "plain", "image": _hello_image(server)})
    assert answer.status == 202, answer
    return "plain", b"ada", lambda: None


DOCKER_CASES = {
    "hello": _hello,
    "digits": _digits,
    "hello-paused": _as_an_image,
    "hello-unpooled": _as_an_image,
    "docker-run": _hello,
}


def _hello_image(server: Server) -> str:
    name = f"bench-{os.getpid()}"
    server.deploy(name, HELLO)
    found = subprocess.run(
        ["docker", "images", "-q", "--no-trunc", "--filter", f"reference=pilotlight/{name}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return found.stdout.split()[0]


def _engine_alone(server: Server, count: int) -> list[Row]:
    """`docker run` until the container's server has answered once."""
    image = _hello_image(server)
    times = []
    for number in range(count):
        began = time.perf_counter()
        name = f"pilotlight-bench-{os.getpid()}-{number}"
        subprocess.run(["docker", "run", "-d", "--name", name, "-p", "127.0.0.1::8080", image], check=True, **_QUIET)
        found = subprocess.run(["docker", "port", name, "8080/tcp"], check=True, capture_output=True, text=True)
        _until_answered(found.stdout.split()[0])
        times.append((time.perf_counter() - began) * 1000)
        subprocess.run(["docker", "rm", "-f", name], check=True, **_QUIET)
    values = (("p50", percentile(times, 0.5)), ("p95", percentile(times, 0.95)), ("max", max(times)))
    return [Row("docker-run", metric, value, "ms") for metric, value in values]


def _until_answered(address: str) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 3\r\n\r\nada")
            if connection.recv(100).startswith(b"HTTP/1.1 200"):
                return
    raise AssertionError(f"no answer from {address} within a minute")


_QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL}


def _measure(server: Server, case: str, name: str, body: bytes, before: Callable[[], None], count: int) -> list[Row]:
    times: list[float] = []
    phases: dict[str, list[float]] = defaultdict(list)
    for _ in range(count):
        server.api("POST", f"/api/v1/functions/{name}/scale", {"replicas": 0})
        wait_for(lambda: not server.function(name)["replicas_detail"], what="scale to zero")
        wait_for(lambda: _is_warm(server, name), seconds=30, what="what waits for the next start")
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


def _is_warm(server: Server, name: str) -> bool:
    """As many as are kept, or it is said that none are."""
    warm = server.function(name)["warm"]
    return bool(warm["ready"] >= (1 if warm["kind"] == "paused" else 2) or warm["kind"] == "none")


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
