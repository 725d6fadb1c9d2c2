"""Images on their way to another machine, as their users type it: push, publish, deploy by digest, a tag that moves."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines import docker_engine
from tests.harness import Ran, Server, wait_for
from tests.registries import Registry

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("registry"), pytest.mark.timeout(300)]
HELLO = """import os

def handle(event, context):
    return ' '.join(os.listdir('/var/openfaas/secrets')) if event.body else 'hello {}'
"""


class Machine:
    """A server, its user's stack file, and the names that its engine shall forget."""

    def __init__(self, server: Server, registry: Registry) -> None:
        self.server, self.registry = server, registry
        self.stack = server.folder / "stack.yaml"

    def write(self, text: str = "ada", *, tag: str = "1") -> None:
        folder = self.server.folder / "hello"
        folder.mkdir(exist_ok=True)
        (folder / "handler.py").write_text(HELLO.format(text))
        (folder / "requirements.txt").write_text("")
        image = self.registry.name(f"team/hello:{tag}")
        entry = {"lang": "python3-http", "handler": "./hello", "image": image}
        self.stack.write_text(json.dumps({"provider": {"name": "openfaas"}, "functions": {"hello": entry}}))

    def typed(self, *words: str, login: Path | None = None) -> Ran:
        environment = self.server.environment | {"DOCKER_CONFIG": str(login or self.server.folder / "nobody")}
        command = [sys.executable, "-m", "faasctl", *words]
        done = subprocess.run(
            command, cwd=self.server.folder, env=environment, capture_output=True, timeout=240, check=False
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def forget(self) -> None:
        """The engine has nothing of the registry's, as another machine's."""
        engine, name = docker_engine(), self.registry.name("team/hello")
        for found in engine.do(lambda client: client.images(name=name)):
            for each in found.get("RepoTags") or found.get("RepoDigests") or []:
                engine.do(lambda client, each=each: client.remove_image(each, force=True))  # type: ignore[misc]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    docker_engine()
    with Registry(tmp_path_factory.mktemp("registry"), password=True) as running:
        yield running


@pytest.fixture(scope="module")
def login(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return registry.docker_config(tmp_path_factory.mktemp("ada"))


@pytest.fixture(scope="module")
def machine(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    nobody = tmp_path_factory.mktemp("nobody") / "config.json"
    with Server("--provider=docker", settings={"docker.config": nobody, "docker.build_network": "host"}) as server:
        made = Machine(server, registry)
        yield made
        made.forget()


def test_a_function_travels_by_its_digest(machine: Machine, login: Path) -> None:
    machine.write()
    pushed = machine.typed("push", login=login)
    assert pushed.code == 0, pushed
    reference = pushed.out.strip()
    digest = machine.registry.digest("team/hello", "1")
    assert reference == f"{machine.registry.name('team/hello')}@{digest}"
    assert "hello: pushed: " in pushed.err
    machine.forget()

    refused = machine.typed("deploy", "--name", "far", "--image", reference)
    assert refused.code == 1
    assert "error[registry-login]" in refused.err
    assert "wants a login" in refused.err

    config = str(login / "config.json")
    assert machine.typed("secret", "create", "dockerconfigjson", "--from-file", config).code == 0
    assert machine.typed("secret", "create", "token", "--from-literal", "t").code == 0
    secrets = ("--secret", "dockerconfigjson", "--secret", "token")
    assert machine.typed("deploy", "--name", "far", "--image", reference, *secrets).code == 0
    assert machine.server.call("/function/far").body == b"hello ada"
    assert machine.server.call("/function/far", b"which secrets?").body == b"token"
    assert f"{machine.registry.name('team/hello')} {digest[:19]}" in machine.typed("describe", "far").out


def test_a_tag_that_moves_changes_nothing_until_the_next_deploy(machine: Machine, login: Path) -> None:
    server, image = machine.server, machine.registry.name("team/hello:moving")
    machine.write("one", tag="moving")
    assert machine.typed("push", login=login).code == 0
    machine.forget()
    deploy = {"service": "moving", "image": image, "registryAuth": "YWRhOnMzY3JldA=="}
    assert server.api("POST", "/system/functions", deploy).status == 202  # accepted; it may go on
    wait_for(lambda: server.call("/function/moving").body == b"hello one", seconds=60, what="the first deploy")

    machine.write("two", tag="moving")
    assert machine.typed("publish", login=login).code == 0
    machine.forget()  # as if this engine had neither
    server.api("POST", "/api/v1/functions/moving/scale", {"replicas": 0})
    wait_for(lambda: not server.function("moving")["replicas_detail"], what="scale to zero")
    machine.forget()
    assert server.call("/function/moving").body == b"hello one"

    assert server.function("moving")["spec"]["secrets"] == ["moving.dockerconfigjson"]
    assert server.api("PUT", "/system/functions", deploy | {"labels": {"new": "1"}}).status == 202
    wait_for(lambda: server.call("/function/moving").body == b"hello two", seconds=60, what="the new revision")


def test_what_is_typed_wrong(machine: Machine, login: Path, tmp_path: Path) -> None:
    machine.write()
    anonymous = machine.typed("push")
    assert (anonymous.code, "error[registry-login]: hello: " in anonymous.err) == (1, True)
    assert f"docker login {machine.registry.address}" in anonymous.err
    wrong = machine.typed("push", login=machine.registry.docker_config(tmp_path, password="wr0ng"))
    assert (wrong.code, "refused the login" in wrong.err, "wr0ng" in wrong.err) == (1, True, False)
    foreign = machine.typed("publish", "--platforms", "linux/s390x", login=login)
    assert (foreign.code, "error[not-supported]" in foreign.err, "buildx" in foreign.err) == (1, True, True)
    untold = machine.typed("push", "--tag", "sha", login=login)
    assert (untold.code, "git cannot say" in untold.err) == (2, True)
    assert "Traceback" not in anonymous.err + wrong.err + foreign.err + untold.err


def test_tags_of_a_build_and_json_for_scripts(machine: Machine, login: Path) -> None:
    machine.write()
    ran = machine.typed("publish", "--tag", "digest", "--platforms", own_platform(), "--json", login=login)
    assert (ran.code, ran.err) == (0, "")
    [function] = json.loads(ran.out)["functions"]
    tag = function["image"].rpartition(":")[2]
    assert tag in machine.registry.tags("team/hello")
    assert machine.registry.digest("team/hello", tag) == function["digest"]


def own_platform() -> str:
    about = docker_engine().do(lambda client: client.version())
    return f"{about['Os']}/{about['Arch']}"


def test_the_servers_log_holds_no_login(machine: Machine) -> None:
    text = machine.server.log.read_text()
    assert "YWRhOnMzY3JldA" not in text
    assert "s3cret" not in text
