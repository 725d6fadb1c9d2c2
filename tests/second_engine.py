"""A Docker engine of a test's own, to be restarted, filled and stopped: the machine's is shared.

Its files lie on a file system of its own in memory, so it can be full without anybody else being so, and its end is
quick. It makes no firewall rules: the chains of the machine's engine have the same names.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from pilotlight.core.errors import PilotlightError
from pilotlight.engine.client import Engine, connect
from pilotlight.engine.failures import Refused
from tests.engines import BASE_IMAGE, build_test_image, docker_engine, missing
from tests.harness import wait_for

SIZE_MIB = 1536
"""Of its file system; the base image takes a quarter of it."""
_NETWORKS = range(213, 250)
"""Its bridges are in 10.N, which nobody else on the machine may have too."""


class SecondEngine:
    """`with second_engine() as engine:`; `start` and `end` as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._engine: Engine | None = None
        self.disk = folder / "disk"
        self.address = folder / "engine.sock"
        self.log = folder / "dockerd.log"
        self._config = folder / "daemon.json"
        self._bridge = f"pl{os.getpid()}x"[:15]
        self._net = _free_network()

    @property
    def url(self) -> str:
        return f"unix://{self.address}"

    @property
    def engine(self) -> Engine:
        """For questions of the test itself."""
        if self._engine is None:
            self._engine = connect(self.url, call_seconds=60)
        return self._engine

    def mount(self) -> str:
        """Why there can be none; nothing when there can."""
        if os.geteuid() != 0 or shutil.which("dockerd") is None:
            return "a second Docker engine takes dockerd, and root to start it"
        self.disk.mkdir()
        self._config.write_text("{}")  # not the machine's
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", self.disk], capture_output=True, check=False
        )
        if made.returncode:
            return f"no file system can be mounted for a second engine: {made.stderr.decode().strip()}"
        subprocess.run(["ip", "link", "add", self._bridge, "type", "bridge"], check=True, capture_output=True)
        subprocess.run(["ip", "address", "add", f"{self._net}.0.1/24", "dev", self._bridge], check=True)
        subprocess.run(["ip", "link", "set", self._bridge, "up"], check=True)
        return ""

    def start(self, *, live_restore: bool = True) -> None:
        """Returns when it answers."""
        command = [
            "dockerd", f"--host={self.url}", f"--data-root={self.disk}/data", f"--exec-root={self._folder}/exec",
            f"--pidfile={self._folder}/pid", f"--bridge={self._bridge}", "--iptables=false", "--ip6tables=false",
            "--ip-forward=false", "--ip-masq=false", f"--default-address-pool=base={self._net}.128.0/17,size=24",
            f"--config-file={self._config}", "--shutdown-timeout=5", "--containerd-namespace=pilotlight-tests",
            "--containerd-plugins-namespace=pilotlight-plugins",
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(["--live-restore"] if live_restore else [])],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_for(self._answers, seconds=60, what="an answer of the second engine")
        _put_back_default_bridge()

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """And its containerd; containers stay where it restores them."""
        assert self._process is not None
        self.freeze(False)
        helpers = psutil.Process(self._process.pid).children()
        self._process.send_signal(how)
        self._process.wait(60)
        for helper in helpers:
            with suppress(psutil.NoSuchProcess):
                helper.terminate() if how is signal.SIGTERM else helper.kill()
                helper.wait(30)
        self._process = None

    def freeze(self, frozen: bool = True) -> None:
        """It takes connections and says nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def fill(self) -> Path:
        """To the last byte. Remove the file to make room."""
        filler = self.disk / "filler"
        for size in (2**20, 4096):
            with filler.open("ab", buffering=0) as file, suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass
        return filler

    def load(self, image: str) -> None:
        """From the machine's engine."""
        load = ["docker", f"--host={self.url}", "load", "--quiet"]
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True)
        assert saved.returncode == 0

    def containers(self, **filters: str) -> list[dict[str, Any]]:
        """All, also those that have ended."""
        found: list[dict[str, Any]] = self.engine.do(lambda client: client.containers(all=True, filters=filters))
        return found

    def tidy(self) -> None:
        """Nothing in it but the images that it began with."""
        (self.disk / "filler").unlink(missing_ok=True)
        for container in self.containers():
            with suppress(Refused):
                self.engine.do(lambda client, each=container: client.remove_container(each["Id"], force=True, v=True))  # type: ignore[misc]
        for network in self.engine.do(lambda client: client.networks(filters={"type": "custom"})):
            with suppress(Refused):
                self.engine.do(lambda client, each=network: client.remove_network(each["Id"]))  # type: ignore[misc]

    def destroy(self) -> None:
        if self._process is not None:
            with suppress(Exception):
                self.freeze(False)
                self.tidy()
            with suppress(Exception):
                self.end()
        if self._engine is not None:
            self._engine.close()
        self._end_shims()
        for mounted in sorted(_mounts_below(self._folder), reverse=True):
            subprocess.run(["umount", "--lazy", mounted], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self._bridge], check=False, capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end_shims(self) -> None:
        """Of an engine that was killed they stay, with what they hold."""
        for process in psutil.process_iter(["cmdline"]):
            if any(word.startswith(f"{self._folder}/") for word in process.info["cmdline"] or ()):
                with suppress(psutil.NoSuchProcess):
                    for each in (*process.children(recursive=True), process):
                        each.kill()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the second engine ended:\n{self.log.read_text()[-2000:]}"
        try:
            with socket.socket(socket.AF_UNIX) as knocking:  # docker's own attempt would leave its socket open
                knocking.connect(str(self.address))
            self.engine.do(lambda client: client.ping())
        except (OSError, PilotlightError, Refused):
            return False
        return True


@contextmanager
def second_engine(*, empty: bool = False) -> Iterator[SecondEngine]:
    """With the base image and the tests' image, or none; skips with a reason where there can be no such engine."""
    docker_engine()
    folder = Path(tempfile.mkdtemp(prefix="pl-engine-"))
    folder.chmod(0o711)
    made = SecondEngine(folder)
    try:
        if why := made.mount():
            missing("docker", why)
        made.start()
        if not empty:
            made.load(BASE_IMAGE)
            made.engine.do(build_test_image)
        yield made
    finally:
        made.destroy()


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{folder}/")]


def _put_back_default_bridge() -> None:
    """An engine that is given a bridge removes docker0, which is the machine's engine's."""
    if Path("/sys/class/net/docker0").exists():
        return
    network = docker_engine().do(lambda client: client.inspect_network("bridge"))
    (found,) = network["IPAM"]["Config"]
    address = f"{found['Gateway']}/{found['Subnet'].partition('/')[2]}"
    for words in ("link add docker0 type bridge", f"address add {address} dev docker0", "link set docker0 up"):
        subprocess.run(["ip", *words.split()], check=True, capture_output=True)


def _free_network() -> str:
    """Workers of one run begin to look at places of their own."""
    addresses = [each.address for found in psutil.net_if_addrs().values() for each in found]
    taken = {".".join(address.split(".")[:2]) for address in addresses}
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    places = [f"10.{number}" for number in _NETWORKS]
    return next(each for each in places[worker * 8 :] + places if each not in taken)
