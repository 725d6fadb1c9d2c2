"""The platform in a container, run as deploy/docker/compose.yaml says: deploys, calls, is stopped and comes back."""

import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused
from pilotlight.engine.image_tags import owner_of
from pilotlight.providers.docker.containers import OWNER
from tests.engines import docker_engine, missing
from tests.harness import ROOT, Answer, Server, free_port, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker"), pytest.mark.timeout(400)]
IMAGE = "pilotlight-test-platform"
COMPOSE = ROOT / "deploy/docker/compose.yaml"
HELLO = """
import os, time

def handle(event, context):
    if event.body == b"slow":
        time.sleep(2)
        return "was slow"
    if event.body == b"call":
        return context.call("hello", b"inside").body
    with open("/var/openfaas/secrets/word") as secret:
        return f"hello {event.body.decode()}, {secret.read()}"
"""


class Platform(Server):
    """A container of the platform's image instead of a process; everything else is as with any server."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.folder.chmod(0o755)
        self._engine = engine
        self._container = ""
        self.port = free_port()
        self.mounted = Path(tempfile.mkdtemp(prefix="pl-run-"))

    def start(self, *, port: int = 0, variables: Any = None) -> None:
        if not self._container:
            self._container = self._created()
        self._engine.do(lambda client: client.start(self._container))
        self.url = f"http://127.0.0.1:{self.port}"
        wait_for(self._answers, seconds=60, what=f"a server that is ready\n{self.said()}")

    def end(self, how: Any = None, *, seconds: float = 60) -> int:
        """As `docker stop`."""
        self._engine.do(lambda client: client.stop(self._container, timeout=60))
        ended = self._engine.do(lambda client: client.inspect_container(self._container))
        return int(ended["State"]["ExitCode"])

    def clear(self) -> None:
        """What a server that keeps its functions leaves, and the server."""
        with suppress(Refused):
            self._engine.do(lambda client: client.remove_container(self._container, force=True))
        ours = {"label": f"{OWNER}={owner_of(self.data_dir)}"}
        for each in self._engine.do(lambda client: client.containers(all=True, filters=ours)):
            with suppress(Refused):
                self._engine.do(lambda client, id_=each["Id"]: client.remove_container(id_, force=True, v=True))  # type: ignore[misc]
        for each in self._engine.do(lambda client: client.networks(filters=ours)):
            with suppress(Refused):
                self._engine.do(lambda client, id_=each["Id"]: client.remove_network(id_))  # type: ignore[misc]
        secrets = Path("/dev/shm").glob(f"pilotlight-*-{owner_of(self.data_dir)}*")
        for folder in (self.folder, self.mounted, *secrets):
            shutil.rmtree(folder, ignore_errors=True)

    def said(self) -> str:
        with suppress(Refused):
            return str(self._engine.do(lambda client: client.logs(self._container)).decode())
        return ""

    def health(self) -> str:
        found = self._engine.do(lambda client: client.inspect_container(self._container))
        return str(found["State"]["Health"]["Status"])

    def password(self) -> str:
        return (self.data_dir / "auth" / "basic-auth-password").read_text()

    @property
    def environment(self) -> dict[str, str]:
        server = f"http://admin:{self.password()}@127.0.0.1:{self.port}"
        return super().environment | {"FAASCTL_SERVER": server}

    def _answers(self) -> bool:
        with suppress(OSError):
            return self.api("GET", "/api/v1/functions").status == 200
        return False

    def _created(self) -> str:
        variables = {"PILOTLIGHT_PORT": str(self.port), "PILOTLIGHT_DATA": str(self.data_dir)}
        service = service_of(COMPOSE.read_text(), variables | {"PILOTLIGHT_RUN": str(self.mounted)})
        body = {
            "Image": IMAGE,
            "Cmd": ["--metrics-port=0", "--set=docker.build_network=host"],
            "Env": [f"{name}={value}" for name, value in service["environment"].items() if value is not None],
            "HostConfig": {
                "NetworkMode": service["network_mode"],
                "Binds": service["volumes"],
                "ReadonlyRootfs": service["read_only"],
                "Tmpfs": dict.fromkeys(service["tmpfs"], ""),
                "CapDrop": service["cap_drop"],
                "CapAdd": service["cap_add"],
                "SecurityOpt": service["security_opt"],
            },
        }
        return str(self._engine.do(self._engine.post("/containers/create", body))["Id"])


def service_of(text: str, variables: dict[str, str]) -> dict[str, Any]:
    """The one service of the compose file, its `${NAME:-default}` filled in as compose does it."""
    filled = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), text)
    (service,) = yaml.safe_load(filled)["services"].values()
    known = {"image", "build", "command", "environment", "network_mode", "volumes", "read_only", "tmpfs", "cap_drop",
             "cap_add", "security_opt", "restart", "stop_grace_period", "logging"}  # fmt: skip
    assert set(service) <= known, "this test does not do what the file says"
    return dict(service)


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    engine = docker_engine()
    build()
    made = Platform(engine)
    try:
        made.start()
        made.faasctl("secret", "create", "word", stdin=b"of honour")
        made.deploy("hello", HELLO, secrets=["word"])
        yield made
    finally:
        made.clear()


def build() -> None:
    """With the machine's own network: an engine's bridge may have no way to a package index."""
    if shutil.which("docker") is None:
        missing("docker", "Docker's client program is not installed")
    command = ["docker", "build", "-q", "--network=host", "-f", "deploy/docker/Dockerfile", "-t", IMAGE, "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_a_function_with_a_secret_runs_beside_it_and_calls_another(platform: Platform) -> None:
    assert platform.call("/function/hello", b"ada").body == b"hello ada, of honour"
    assert platform.call("/function/hello", b"call").body == b"hello inside, of honour"


def test_nothing_in_it_is_root(platform: Platform) -> None:
    found = platform._engine.do(lambda client: client.top(platform._container, ps_args="-eo pid,uid,args"))
    users = {line[-1].split(" -m ")[-1].split()[0]: line[1] for line in found["Processes"]}
    assert (
        users.items()
        >= dict.fromkeys(("pilotlight.supervisor", "pilotlight.router", "pilotlight.app"), "10002").items()
    )
    assert set(users.values()) == {"10002"}


def test_it_says_that_it_is_healthy(platform: Platform) -> None:
    wait_for(lambda: platform.health() == "healthy", seconds=60, what="health")


def test_stopping_it_finishes_calls_and_keeps_functions_for_the_next(platform: Platform) -> None:
    """What `docker compose up -d --build` does to it."""
    assert platform.call("/function/hello", b"ada").status == 200
    before = {each["id"] for each in platform.function("hello")["replicas_detail"]}
    answers: list[Answer] = []
    caller = threading.Thread(target=lambda: answers.append(platform.call("/function/hello", b"slow")))
    caller.start()
    wait_for(lambda: platform.function("hello")["in_flight"], what="a call in flight")
    assert platform.end() == 0
    caller.join()
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"was slow")]
    platform.start()
    assert before <= {each["id"] for each in platform.function("hello")["replicas_detail"]}
    assert platform.call("/function/hello", b"bob").body == b"hello bob, of honour"


def test_without_a_socket_it_says_which_mount_is_missing(platform: Platform) -> None:
    command = ["docker", "run", "--rm", "--network=none", IMAGE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("Mount the engine's: -v /var/run/docker.sock:/var/run/docker.sock")


def test_every_variable_of_the_file_has_a_default() -> None:
    named = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    assert named == set(re.findall(r"\$\{(\w+):-", COMPOSE.read_text()))
    assert "PILOTLIGHT_DATA" in named
