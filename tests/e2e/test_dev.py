"""`faasctl dev` as a developer has it: saves, mistakes, requirements, the stack file, and its end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from tests.harness import wait_for

STACK = "functions:\n  hello:\n    lang: python3-http\n    handler: ./hello\n"
HANDLER = "def handle(event, context):\n    return {!r}\n"


class Dev:
    """A session in a project's folder; its output goes to a file, as off a terminal."""

    def __init__(self, project: Path, *flags: str) -> None:
        self.project = project
        self._output = project / "dev.log"
        self._config = project / "config"
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faasctl", "dev", *(flags or ("--port", "0"))],
                cwd=project,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | {"XDG_CONFIG_HOME": str(self._config), "PYTHONPATH": os.pathsep.join(sys.path)},
            )

    @property
    def said(self) -> str:
        return self._output.read_text()

    def says(self, pattern: str, *, times: int = 1) -> str:
        """Waits for a line; the last one that matches."""

        def enough() -> str | None:
            assert self.process.poll() is None, self.said
            found = [line for line in self.said.splitlines() if re.search(pattern, line)]
            return found[-1] if len(found) >= times else None

        line: str = wait_for(enough, seconds=60, what=pattern)
        return line

    def call(self, name: str = "hello") -> str:
        url = re.search(r"http://127\.0\.0\.1:\d+", self.said)
        assert url is not None
        with urlopen(f"{url[0]}/function/{name}") as answer:
            body: str = answer.read().decode()
        return body

    def save(self, path: str, text: str) -> None:
        beside = self.project / f"{path}.tmp~"
        beside.write_text(text)
        beside.rename(self.project / path)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(60)


@pytest.fixture
def project() -> Iterator[Path]:
    # Not pytest's folder: functions run as another user when tests run as root.
    folder = Path(tempfile.mkdtemp(prefix="pl-dev-"))
    folder.chmod(0o711)
    (folder / "hello").mkdir()
    (folder / "stack.yaml").write_text(STACK)
    (folder / "hello/handler.py").write_text(HANDLER.format("one"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def dev(project: Path) -> Iterator[Dev]:
    session = Dev(project)
    session.says("ready in")
    yield session
    session.stop()


def programs_of(project: Path) -> list[str]:
    """Command lines of whatever runs for the project's own server."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if f"{project}/.pilotlight" in line]


def test_each_save_is_served_and_a_mistake_leaves_what_was(dev: Dev) -> None:
    assert re.search(r"data in (/\S+|\.pilotlight)/ \(.*\)   watching stack\.yaml hello/", dev.said)
    assert dev.call() == "one"
    dev.save("hello/handler.py", HANDLER.format("two"))
    dev.says(r"hello/handler\.py saved \.\.\. serving in .* \(revision 2\)")
    assert dev.call() == "two"
    dev.save("hello/handler.py", "def handle(event, context:\n")
    dev.says(r"saved \.\.\. not served: hello/handler\.py:1: .*'\(' was never closed +revision 2 keeps serving")
    assert dev.call() == "two"
    dev.save("hello/handler.py", HANDLER.format("three"))
    dev.says(r"serving in .* \(revision 3\)")
    assert dev.call() == "three"
    assert "Traceback" not in dev.said


def test_what_a_function_prints_is_shown_with_its_name(dev: Dev) -> None:
    dev.save(
        "hello/handler.py", "def handle(event, context):\n    print('I was called')\n    raise ValueError('bad')\n"
    )
    dev.says("serving in")
    with pytest.raises(OSError, match="500"):
        dev.call()
    dev.says(r"^\d\d:\d\d:\d\d hello +I was called")
    dev.says(r'hello! .*File "hello/handler\.py", line 3')


def test_the_stack_file_is_followed_too(dev: Dev) -> None:
    (dev.project / "other").mkdir()
    (dev.project / "other/handler.py").write_text(HANDLER.format("other"))
    dev.save("stack.yaml", STACK + STACK.partition("\n")[2].replace("hello", "other"))
    dev.says(r"stack\.yaml saved \.\.\. other serving")
    assert dev.call("other") == "other"
    dev.save("other/handler.py", HANDLER.format("changed"))
    dev.says(r"other/handler\.py saved \.\.\. other serving")
    assert dev.call("other") == "changed"
    dev.save("stack.yaml", STACK + "    concurency: 3\n")
    dev.says(r"not taken: stack\.yaml:5: hello: unknown key `concurency` \(did you mean `concurrency`\?\)")
    assert dev.call("other") == "changed"
    dev.save("stack.yaml", STACK)
    dev.says("other removed")
    with pytest.raises(OSError, match="404"):
        dev.call("other")


def test_code_that_is_saved_together_with_the_stack_file_is_served(dev: Dev) -> None:
    """As a change of branches does it."""
    os.kill(dev.process.pid, signal.SIGSTOP)  # so that it sees both at once
    dev.save("hello/handler.py", HANDLER.format("two"))
    dev.save("stack.yaml", STACK + "# a comment\n")
    os.kill(dev.process.pid, signal.SIGCONT)
    dev.says(r"and 1 other saved \.\.\. serving in .* \(revision 2\)")
    assert dev.call() == "two"
    os.kill(dev.process.pid, signal.SIGSTOP)
    dev.save("hello/handler.py", HANDLER.format("three"))
    dev.save("stack.yaml", STACK + "    concurency: 3\n")
    os.kill(dev.process.pid, signal.SIGCONT)
    dev.says(r"not taken: stack\.yaml:5: hello: unknown key")
    dev.says(r"and 1 other saved \.\.\. serving in .* \(revision 3\)")
    assert dev.call() == "three"


def test_a_function_of_another_namespace_goes_and_comes_back_with_a_new_log(dev: Dev) -> None:
    url = re.search(r"http://127\.0\.0\.1:\d+", dev.said)
    assert url is not None
    made = subprocess.run(
        [sys.executable, "-m", "faasctl", "namespace", "create", "team", "--server", url[0]],
        env=os.environ | {"XDG_CONFIG_HOME": str(dev.project / "config"), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    (dev.project / "other").mkdir()
    (dev.project / "other/handler.py").write_text("def handle(event, context):\n    print('got', event.path)\n")
    both = STACK + STACK.partition("\n")[2].replace("hello", "other") + "    namespace: team\n"
    dev.save("stack.yaml", both)
    dev.says(r"other serving")
    dev.call("other.team/1")
    dev.says(r"other  got /1")
    dev.save("stack.yaml", STACK)
    dev.says(r"other removed")
    with pytest.raises(OSError, match="404"):
        dev.call("other.team")
    dev.save("stack.yaml", both)
    dev.says(r"other serving", times=2)
    dev.call("other.team/2")
    dev.says(r"other  got /2")
    assert [dev.said.count(f"got /{number}\n") for number in (1, 2)] == [1, 1]


def test_secrets_come_from_the_folder_beside_the_stack_file(dev: Dev) -> None:
    (dev.project / ".secrets").mkdir()
    (dev.project / ".secrets/token").write_text("first\n")
    code = """import os

def handle(event, context):
    with open(os.path.join(os.environ["PILOTLIGHT_SECRETS"], "token")) as file:
        return file.read()
"""
    dev.save("hello/handler.py", code)
    dev.says(r"hello/handler\.py saved \.\.\. serving")
    dev.save("stack.yaml", STACK + "    secrets: [token]\n")
    dev.says(r"stack\.yaml saved \.\.\. serving")
    assert dev.call() == "first"
    dev.save(".secrets/token", "second")
    dev.says(r"\.secrets/token saved \.\.\. serving")
    assert dev.call() == "second"
    assert "second" not in dev.said


def test_a_server_that_crashes_is_waited_for(dev: Dev) -> None:
    [control] = [
        process for process in psutil.process_iter(["cmdline"])
        if "pilotlight.app" in (process.info["cmdline"] or ())
        and f"{dev.project}/.pilotlight" in " ".join(process.info["cmdline"])
    ]  # fmt: skip
    control.kill()
    dev.save("hello/handler.py", HANDLER.format("after"))
    dev.says(r"serving in .* \(revision 2\)")
    assert dev.call() == "after"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_its_end_leaves_nothing(project: Path, how: signal.Signals) -> None:
    session = Dev(project)
    session.says("ready in")
    assert session.stop(how) == 130
    assert session.said.endswith("stopped 1 function, nothing left running\n")
    assert programs_of(project) == []
    assert not (project / ".pilotlight").exists()
    assert "127.0.0.1" not in (project / "config/pilotlight/credentials.json").read_text()


def test_a_session_that_was_killed_leaves_no_program_and_the_next_one_works(project: Path) -> None:
    session = Dev(project)
    session.says("ready in")
    session.stop(signal.SIGKILL)
    wait_for(lambda: programs_of(project) == [], seconds=60, what="the server's end")
    again = Dev(project)
    try:
        again.says("ready in")
        assert again.call() == "one"
    finally:
        again.stop()
    assert not (project / ".pilotlight").exists()


def test_a_session_whose_server_was_killed_says_so_and_ends_what_it_left(dev: Dev) -> None:
    [supervisor] = psutil.Process(dev.process.pid).children()
    supervisor.kill()
    assert dev.process.wait(60) == 1
    assert "error[dev-server]: the server was killed by signal 9" in dev.said
    assert programs_of(dev.project) == []


def second_session(project: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "faasctl", "dev"],
        cwd=project, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, check=False,
    )  # fmt: skip


def test_a_second_session_in_one_folder_is_refused(dev: Dev) -> None:
    second = second_session(dev.project)
    assert second.returncode == 1
    assert b"error[dev-twice]" in second.stderr
    assert dev.call() == "one"


def test_a_second_session_is_refused_also_where_the_data_cannot_lie_in_the_folder(project: Path) -> None:
    (project / ".pilotlight").write_text("a file where the folder would be\n")
    session = Dev(project)
    session.says("ready in")
    second = second_session(project)
    assert (second.returncode, session.call()) == (1, "one")
    assert b"error[dev-twice]" in second.stderr
    assert session.stop() == 130


def test_kept_data_serve_the_next_session(project: Path) -> None:
    for number in range(2):
        session = Dev(project, "--keep", "--port", "0")
        session.says("ready in")
        assert session.stop() == 130
        assert ("making its environment" in session.said) == (number == 0)
    assert (project / ".pilotlight/environments").is_dir()
