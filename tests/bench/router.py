"""How much of nginx' speed does the router have?

One stub backend stands behind all of them; wrk with one thread asks it directly, through nginx (one worker, keep-alive
upstream on TCP and on a unix socket), and through the real router program, whose link is served by this script. The
rounds are interleaved and medians are shown, so that a noisy machine is noisy for all: compare ratios only.
"""

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import socket
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from pilotlight.config import Settings
from pilotlight.core.spec import function_key
from pilotlight.link import messages
from pilotlight.link.messages import Endpoint, Route, Snapshot, Welcome

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import _report
from tests.bench._report import Row

HERE = Path(__file__).parent
CASES = {"c1-12B": 1, "c32-12B": 32}
TARGETS = ("direct", "nginx", "nginx_unix", "router")
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True, slots=True)
class Measured:
    rps: float
    p50: float
    p99: float


def main() -> None:
    parser = _report.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds per case (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement (default 3)")
    options = parser.parse_args()
    for tool in ("nginx", "wrk"):
        if shutil.which(tool) is None:
            _report.missing(tool, tool)
    _report.write("router", asyncio.run(_bench(options)), options.json)


async def _bench(options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="pl-bench-") as folder:
        async with _targets(Path(folder)) as urls:
            for case, connections in CASES.items():
                found: dict[str, list[Measured]] = defaultdict(list)
                for number in range(options.rounds):
                    for target in TARGETS if number % 2 == 0 else reversed(TARGETS):
                        found[target].append(await _wrk(urls[target], connections, options.seconds))
                rows += _rows(case, found)
    return rows


def _rows(case: str, found: dict[str, list[Measured]]) -> list[Row]:
    def median(target: str, metric: str) -> float:
        return _report.median([float(getattr(measured, metric)) for measured in found[target]])

    ratios = [ours.rps / theirs.rps for ours, theirs in zip(found["router"], found["nginx"], strict=True)]
    return [
        *(Row(case, f"rps_{target}", median(target, "rps"), "1/s") for target in TARGETS),
        Row(case, "ratio_to_nginx", _report.median(ratios), ""),
        Row(case, "ratio_to_nginx_lowest", min(ratios), ""),
        Row(case, "ratio_to_nginx_highest", max(ratios), ""),
        *(
            Row(case, f"{metric}_{target}", median(target, metric), "ms")
            for metric in ("p50", "p99")
            for target in TARGETS
        ),
        *(
            Row(case, f"{metric}_added", median("router", metric) - median("direct", metric), "ms")
            for metric in ("p50", "p99")
        ),
    ]


async def _wrk(url: str, connections: int, seconds: int) -> Measured:
    process = await asyncio.create_subprocess_exec(
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url, stdout=asyncio.subprocess.PIPE
    )
    text = (await process.communicate())[0].decode()
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"{url} did not answer everything:\n{text}")
    rps = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rps is not None, text
    return Measured(rps=float(rps[1]), p50=_latency(text, 50), p99=_latency(text, 99))


def _latency(text: str, percent: int) -> float:
    found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", text)
    assert found is not None, text
    return float(found[1]) * _UNITS_MS[found[2]]


@contextlib.asynccontextmanager
async def _targets(folder: Path) -> AsyncIterator[dict[str, str]]:
    """All programs that take part, and where each one answers."""
    backend = folder / "backend.sock"
    async with contextlib.AsyncExitStack() as stack:
        stub = await stack.enter_async_context(_program(sys.executable, str(HERE / "_stub_backend.py"), str(backend)))
        assert stub.stdout is not None
        tcp = int(await stub.stdout.readline())
        tcp_proxy, unix_proxy = _free_port(), _free_port()
        config = _nginx_config(folder, {tcp_proxy: f"127.0.0.1:{tcp}", unix_proxy: f"unix:{backend}"})
        await stack.enter_async_context(_program("nginx", "-p", str(folder), "-c", str(config)))
        router = await stack.enter_async_context(_router(folder, backend))
        for port in (tcp_proxy, unix_proxy, router):
            await _answers(port)
        yield {
            "direct": f"http://127.0.0.1:{tcp}/",
            "nginx": f"http://127.0.0.1:{tcp_proxy}/",
            "nginx_unix": f"http://127.0.0.1:{unix_proxy}/",
            "router": f"http://127.0.0.1:{router}/function/hello",
        }


@contextlib.asynccontextmanager
async def _router(folder: Path, backend: Path) -> AsyncIterator[int]:
    """The router's own program, with one route from a link that this script serves."""
    settings = Settings(data_dir=folder)
    settings.run_dir.mkdir(mode=0o700, exist_ok=True)
    endpoint = Endpoint(replica="stub", address=f"unix:{backend}", slots=64)
    route = Route(function=function_key("hello"), endpoints=(endpoint,))
    read_end, write_end = os.pipe()
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as public,
        socket.create_server(("127.0.0.1", 0)) as metrics,
    ):
        fds = (public.fileno(), metrics.fileno(), read_end)
        names = ("--public-fd", "--metrics-fd", "--lifeline-fd")
        flags = [text for name, fd in zip(names, fds, strict=True) for text in (name, str(fd))]
        command = (sys.executable, "-m", "pilotlight.router", *flags, "--settings-json", settings.to_json())
        try:
            link = await asyncio.start_unix_server(_link(route), settings.link_socket)
            async with link, _program(*command, pass_fds=fds):
                yield public.getsockname()[1]
        finally:
            os.close(write_end)
            os.close(read_end)
            shutil.rmtree(settings.run_dir, ignore_errors=True)


def _link(route: Route) -> "asyncio.streams._ClientConnectedCallback":
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            await messages.read_up(reader)
            writer.write(
                messages.encode(Welcome(epoch="bench")) + messages.encode(Snapshot(version=1, routes=(route,)))
            )
            while True:
                await messages.read_up(reader)
        writer.close()

    return serve


@contextlib.asynccontextmanager
async def _program(*command: str, pass_fds: tuple[int, ...] = ()) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, pass_fds=pass_fds
    )
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


def _nginx_config(folder: Path, proxies: dict[int, str]) -> Path:
    """One worker, nothing logged, as many kept upstream connections as the largest case needs."""
    servers = "".join(
        f"""
        upstream proxy{port} {{ server {address}; keepalive 64; keepalive_requests 100000000; }}
        server {{
            listen 127.0.0.1:{port};
            keepalive_requests 100000000;
            location / {{ proxy_pass http://proxy{port}; proxy_http_version 1.1; proxy_set_header Connection ""; }}
        }}"""
        for port, address in proxies.items()
    )
    temporary = "".join(f"{name}_temp_path {folder};" for name in ("proxy", "client_body", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.getuid() == 0 else ""  # or its worker could not reach the backend's socket
    path = folder / "nginx.conf"
    path.write_text(
        f"""
        daemon off; {user} worker_processes 1; pid {folder}/nginx.pid; error_log /dev/null;
        events {{ worker_connections 1024; }}
        http {{ access_log off; {temporary} {servers} }}
        """
    )
    return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def _answers(port: int) -> None:
    """Wait until somebody accepts and answers there."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /function/hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                line = await reader.readline()
                writer.close()
                if b" 200 " in line:
                    return
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    main()
