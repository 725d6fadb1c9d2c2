"""A real registry (Debian's docker-registry) for tests: plain, with a password, or with a certificate of its own."""

import ipaddress
import json
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.certificates import certificate
from tests.engines import missing
from tests.harness import free_port, wait_for

PROGRAM = "docker-registry"
USER, PASSWORD = "ada", "s3cret"
_HTPASSWD = f"{USER}:$2b$05$njOZ2MEbZiuc4s/0X8UJGeeDmF9O/cIY2Uh8FsniHiTwqmsDy3GVq\n"


def need_registry() -> None:
    if shutil.which(PROGRAM) is None:
        missing("registry", f"there is no {PROGRAM} (Debian's package of that name)")


def outside_address() -> str:
    """One that engines do not take for their own machine's: on 127.0.0.0/8 they trust everybody."""
    for found in psutil.net_if_addrs().values():
        for each in found:
            if each.family is socket.AF_INET and not ipaddress.ip_address(each.address).is_loopback:
                return each.address
    pytest.skip("this machine has no address but loopback")


class Registry:
    """`with Registry(folder) as registry`; it can be killed, and started again with what it holds."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        password: bool = False,
        tls: bool = False,
        read_only: bool = False,
    ) -> None:
        need_registry()
        folder.mkdir(parents=True, exist_ok=True)
        self.address = f"{host}:{free_port()}"
        self.log = folder / "registry.log"
        self.store = folder / "store"
        self._folder = folder
        self._tls, self._password = tls, password
        self._process: subprocess.Popen[bytes] | None = None
        http: dict[str, Any] = {"addr": self.address, "secret": "of the tests"}
        if tls:
            both = str(certificate(folder / "tls.pem", host))
            http["tls"] = {"certificate": both, "key": both}
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(self.store)},
                "delete": {"enabled": True},
                "maintenance": {"readonly": {"enabled": read_only}},
            },
            "http": http,
        }
        if password:
            (folder / "htpasswd").write_text(_HTPASSWD)
            settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
        (folder / "config.yml").write_text(json.dumps(settings))

    def __enter__(self) -> "Registry":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", str(self._folder / "config.yml")], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_for(self._answers, what=f"a registry at {self.address}: {self.log.read_text()[-500:]}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def name(self, path: str) -> str:
        return f"{self.address}/{path}"

    def tags(self, path: str) -> list[str]:
        """None of a repository that it does not know."""
        try:
            return list(json.loads(self._get(f"/v2/{path}/tags/list")).get("tags") or [])
        except urllib.error.HTTPError as error:
            assert error.code == 404
            return []

    def digest(self, path: str, tag: str) -> str:
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        request = self._request(f"/v2/{path}/manifests/{tag}", {"Accept": kind}, "HEAD")
        with urllib.request.urlopen(request) as answer:
            return str(answer.headers["Docker-Content-Digest"])

    def docker_config(self, folder: Path, *, user: str = USER, password: str = PASSWORD) -> Path:
        """A folder for DOCKER_CONFIG with a login for it."""
        folder.mkdir(parents=True, exist_ok=True)
        pair = b64encode(f"{user}:{password}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {self.address: {"auth": pair}}}))
        return folder

    def _answers(self) -> bool:
        try:
            self._get("/v2/")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def _get(self, path: str) -> bytes:
        context = ssl._create_unverified_context() if self._tls else None
        with urllib.request.urlopen(self._request(path, {}), context=context) as answer:
            body: bytes = answer.read()
            return body

    def _request(self, path: str, headers: dict[str, str], method: str = "GET") -> urllib.request.Request:
        if self._password:
            headers = headers | {"Authorization": "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
        scheme = "https" if self._tls else "http"
        return urllib.request.Request(f"{scheme}://{self.address}{path}", headers=headers, method=method)
