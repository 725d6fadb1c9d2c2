"""How long do builds of images take, from the upload to the reference: the first one, the same again, after changes of
the handler and of the requirements, and with 100 MB beside the handler?

    python tests/bench/build.py [--count 5] [--megabytes 100] [--network host] [--json FILE]

A real server with `--provider docker`, asked over its API; the engine of DOCKER_HOST has the base image, and its builds
can reach a package index. The template is python3-http with a word in it that no build before has had, so `first` is
what an engine does that has never seen it. `upload` ends when the server has unpacked the source; `peak` is the most
memory that the control plane ever had, before and after the large build. Images of the run are removed.
"""

import http.client
import io
import json
import os
import sys
import tarfile
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pilotlight.engine import connect
from tests.bench import _report
from tests.bench._report import Row, percentile
from tests.harness import Server

TEMPLATE = Path(__file__).resolve().parents[2] / "templates/python3-http"
_PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Build:
    upload_seconds: float
    seconds: float
    environment: str


def main() -> None:
    parser = _report.arguments(__doc__)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--network", help="the engine's network for builds; `host` where its bridge has no way out")
    options = parser.parse_args()
    settings = {"docker.build_network": options.network} if options.network else {}
    environments: set[str] = set()
    try:
        with tempfile.TemporaryDirectory() as folder, Server("--provider=docker", settings=settings) as server:
            rows = _measure(server, Path(folder), options.count, options.megabytes, environments)
    finally:
        _remove_images(environments)
    _report.write("build", rows, options.json)


def _remove_images(environments: set[str]) -> None:
    """Those of this run by all their names: as built, and as the server has noted that it uses them."""
    engine = connect(None, call_seconds=60)
    found = engine.do(lambda client: client.images())
    for tag in (tag for each in found for tag in each["RepoTags"] or () if tag.startswith("pilotlight")):
        name, _, digest = tag.rpartition(":")
        if name.endswith("/bench") or any(each.startswith(digest) for each in environments):
            engine.do(lambda client, tag=tag: client.remove_image(tag, force=True))  # type: ignore[misc]
    engine.close()


def _measure(server: Server, folder: Path, count: int, megabytes: int, environments: set[str]) -> list[Row]:
    times: dict[str, list[float]] = {}
    nonce = os.urandom(6).hex()

    def build(case: str, *, word: str, marker: str, **more: Path) -> Build:
        place = folder / "source.tar"
        _pack(place, nonce, word, marker, more)
        made = _post(server, place)
        environments.add(made.environment)
        times.setdefault(case, []).append(made.seconds * 1000)
        return made

    build("first", word="0", marker="0")
    for number in range(1, count + 1):
        build("no change", word=str(number - 1), marker="0")
        build("handler changed", word=str(number), marker="0")
    for number in range(1, min(count, 3) + 1):
        build("requirements changed", word="0", marker=str(number))
    large = folder / "large.bin"
    with large.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(10**6))
    peak = _peak_mib(server)
    made = build(f"{megabytes} MB more", word="0", marker="0", **{"large.bin": large})
    rows = [
        Row(case, name, percentile(values, share), "ms")
        for case, values in times.items()
        for name, share in (("p50", 0.5), ("max", 1.0))
        if name == "p50" or len(values) > 1
    ]
    return [
        *rows,
        Row(f"{megabytes} MB more", "upload", made.upload_seconds * 1000, "ms"),
        Row(f"{megabytes} MB more", "peak before", peak, "MiB"),
        Row(f"{megabytes} MB more", "peak after", _peak_mib(server), "MiB"),
    ]


def _pack(place: Path, nonce: str, word: str, marker: str, more: dict[str, Path]) -> None:
    """The template beside the function, as faasctl sends one that the server does not have."""
    dockerfile = (TEMPLATE / "Dockerfile").read_text().replace("RUN groupadd", f"RUN : {nonce} && groupadd", 1)
    files = {
        "template/Dockerfile": dockerfile,
        "template/template.yml": (TEMPLATE / "template.yml").read_text(),
        "template/prime.py": (TEMPLATE / "prime.py").read_text(),
        "handler/handler.py": f"import six\n\ndef handle(event, context):\n    return '{nonce} {word}'\n",
        "handler/requirements.txt": f'six==1.17.0 ; platform_release != "{nonce}{marker}"\n',
    }
    with tarfile.open(place, "w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
        for name, path in more.items():
            tar.add(path, f"handler/{name}")


def _post(server: Server, place: Path) -> Build:
    address = urlsplit(server.url)
    assert address.hostname is not None
    login = [(server.data_dir / "auth" / f"basic-auth-{part}").read_text() for part in ("user", "password")]
    began = time.perf_counter()
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=600)
    with place.open("rb") as file:
        connection.request(
            "POST",
            "/api/v1/builds?name=bench&template=python3-http&layout=template",
            body=iter(lambda: file.read(_PIECE_BYTES), b""),
            headers={"Authorization": "Basic " + b64encode(":".join(login).encode()).decode()},
            encode_chunked=True,
        )
        answer = connection.getresponse()
    upload, last = 0.0, {}
    for last in _events(answer):
        if last.get("step") == "source" and not upload:
            upload = time.perf_counter() - began
    connection.close()
    if last.get("event") != "built":
        sys.exit(f"a build failed: {last}")
    return Build(upload, time.perf_counter() - began, str(last["environment"]))


def _events(answer: http.client.HTTPResponse) -> Iterator[dict[str, object]]:
    for line in answer:
        if line.strip():
            yield json.loads(line)


def _peak_mib(server: Server) -> float:
    (pid,) = server.processes()["app"]
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main()
