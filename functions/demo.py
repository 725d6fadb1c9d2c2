"""The whole of Pilotlight in one run: serve, deploy, call, scale to zero, and a cold start with its phases.

    python functions/demo.py [--once] [--provider docker]

Everything lives in one temporary folder. With --once it stops by itself, leaves nothing behind, and its exit code
is 0 only if every step was right; otherwise it serves on until Ctrl-C, and on Docker the images that it built stay, so
that the next demo need not build them. PILOTLIGHT_BUILD_NETWORK=host helps where the engine's bridge has no way out.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import demo_docker
import yaml

FUNCTIONS = Path(__file__).resolve().parent
SAMPLES = FUNCTIONS / "digits" / "samples"
DRAWING = b" ##\n#  #\n#  #\n#  #\n ##\n"
IDLE_SECONDS = 3
READY = re.compile(r"is ready on (http://\S+)")


class DemoFailedError(Exception):
    """A step was not as it should be; the message says which."""


class Demo:
    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.folder = Path(tempfile.mkdtemp(prefix="pilotlight-demo-"))
        self.folder.chmod(0o711)  # functions run as another user when this is run as root
        self.log = self.folder / "server.log"
        self.url = ""
        self._server: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        step("serving", self.serve)
        first = " (images are built at the first time: some minutes)" if self.provider == "docker" else ""
        step(f"deploying functions/stack.yaml{first}", lambda: self.deploy("stack.yaml"))
        step("deploying functions/pipeline/stack.yaml", lambda: self.deploy("pipeline/stack.yaml"))
        step("calling hello", self.call_hello)
        step("calling gateway, which calls processing, which calls prediction", self.call_pipeline)
        step("posting images to digits and comparing the answers with their labels", self.post_images)
        step(f"waiting until nothing of them runs (idle time in this demo: {IDLE_SECONDS} s)", self.wait_for_zero)
        step("calling both cold", self.call_cold)

    def serve(self) -> str:
        command = [sys.executable, "-m", "faasctl", "serve", f"--data-dir={self.folder / 'data'}"]
        command += ["--port=0", "--metrics-port=0", f"--provider={self.provider}"]
        if network := os.environ.get("PILOTLIGHT_BUILD_NETWORK"):
            command.append(f"--set=docker.build_network={network}")
        with self.log.open("wb") as log:
            self._server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
            )
        found = wait_for(lambda: READY.search(self.log.read_text()) or self._server_ended(), 60, "the server")
        if found is True:
            raise DemoFailedError(f"the server ended:\n{self.log.read_text()}")
        self.url = found[1]
        return self.url

    def deploy(self, path: str) -> str:
        stack = self.folder / "stack.yaml"
        source = FUNCTIONS / path
        stack.write_text(yaml.safe_dump(impatient(yaml.safe_load(source.read_text()), source.parent)))
        if self.provider == "docker":
            return self._deploy_aloud(stack)
        run = self._faasctl("up", "-f", str(stack))
        if run.returncode:
            raise DemoFailedError(f"faasctl up failed:\n{run.stderr}")
        return "\n" + indented(run.stdout)

    def _deploy_aloud(self, stack: Path) -> str:
        """A first build of images takes minutes: what it does is shown as it comes."""
        print()
        command = [sys.executable, "-m", "faasctl", "up", "-f", str(stack)]
        run = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environment()
        )
        for line in run.stdout or ():
            print(f"  {line.rstrip()[:118]}", flush=True)
        if run.wait():
            raise DemoFailedError("faasctl up failed; the lines above say why")
        return "  done"

    def call_hello(self) -> str:
        status, _, body = self._call("hello", b"ada")
        expect(status == 200 and b"ada" in body, f"hello answered {status} {body!r}")
        return repr(body.decode())

    def call_pipeline(self) -> str:
        status, _, body = self._call("gateway", DRAWING, "text/plain")
        expect(status == 200 and json.loads(body).get("digit") == 0, f"gateway answered {status} {body!r}")
        return body.decode().strip()

    def post_images(self) -> str:
        right, times = 0, []
        images = sorted(p for p in SAMPLES.iterdir() if p.suffix in (".png", ".jpg", ".jpeg"))
        for image in images:
            began = time.perf_counter()
            status, _, body = self._call("digits", image.read_bytes())
            times.append((time.perf_counter() - began) * 1000)
            expect(status == 200, f"digits answered {status} {body!r} for {image.name}")
            right += json.loads(body)["digit"] == int(image.name[0])
        expect(right >= 0.9 * len(images), f"only {right} of {len(images)} images were read right")
        return f"{right} of {len(images)} right, {sorted(times)[len(times) // 2]:.1f} ms a call (median)"

    def wait_for_zero(self) -> str:
        began = time.monotonic()
        wait_for(lambda: all(f["state"] == "cold" for f in self._functions()), 90, "scale to zero")
        return f"cold after {time.monotonic() - began:.1f} s"

    def call_cold(self) -> str:
        lines = []
        image = next(iter(sorted(SAMPLES.iterdir())))
        for name, body in (("hello", b"again"), ("digits", image.read_bytes())):
            began = time.perf_counter()
            status, headers, answer = self._call(name, body)
            took = (time.perf_counter() - began) * 1000
            expect(status == 200, f"{name} answered {status} {answer!r}")
            timing = headers.get("server-timing", "")
            expect("wait" in timing, f"{name} was not cold: Server-Timing {timing!r}")
            lines.append(f"{name:7} {took:6.1f} ms in all, of that: {phases(timing)}")
        return "\n" + indented("\n".join(lines))

    def stop(self, *, with_images: bool = False) -> None:
        """Ends the server and checks that nothing of it is left."""
        server = self._server
        if server is not None and server.poll() is None:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        left: list[Any] = [p for p in processes() if str(self.folder) in p[1]]
        if self.provider == "docker" and server is not None:
            left += demo_docker.left_of(self.folder / "data")
            if with_images:
                demo_docker.remove_images(self.folder / "data")
        shutil.rmtree(self.folder)
        expect(not left, f"left running: {left}")

    def _functions(self) -> list[dict[str, Any]]:
        run = self._faasctl("list", "--json")
        expect(run.returncode == 0, run.stderr)
        data = json.loads(run.stdout)
        return list(data["functions"] if isinstance(data, dict) else data)

    def _call(
        self, name: str, body: bytes, kind: str = "application/octet-stream"
    ) -> tuple[int, dict[str, str], bytes]:
        request = urllib.request.Request(f"{self.url}/function/{name}", data=body)
        request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=70) as response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()

    def _faasctl(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "faasctl", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=self._environment(), check=False)

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "FAASCTL_SERVER": self.url,
            "NO_COLOR": "1",
        }

    def _server_ended(self) -> bool:
        return self._server is not None and self._server.poll() is not None


def impatient(stack: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An example stack of that folder for use from another, with an idle time that one can wait for."""
    for function in stack["functions"].values():
        function["handler"] = str(folder / function["handler"])
        function.setdefault("scale", {})["idle"] = f"{IDLE_SECONDS}s"
    return stack


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--once", action="store_true", help="stop by itself, leave nothing")
    parser.add_argument("--provider", choices=("process", "docker"), default="process", help="how functions run")
    options = parser.parse_args()
    once = options.once
    for number in (signal.SIGINT, signal.SIGTERM):  # the server is ended with the demo, however that ends
        signal.signal(number, signal.default_int_handler)
    if options.provider == "docker":
        step("looking for a Docker engine", demo_docker.find_engine)
    demo = Demo(options.provider)
    try:
        demo.run()
        if not once:
            serve_on(demo)
    except DemoFailedError as error:
        print(f"FAILED: {error}\n--- the server's last lines:\n{tail(demo.log)}", file=sys.stderr)
        demo.stop()
        return 1
    except KeyboardInterrupt:
        print()
    step("stopping", lambda: demo.stop(with_images=once) or "nothing left")
    return 0


def serve_on(demo: Demo) -> None:
    print(f"""
It serves on:
  {demo.url}/function/hello       curl -d ada {demo.url}/function/hello
  {demo.url}/function/digits      curl --data-binary @{next(SAMPLES.iterdir())} {demo.url}/function/digits
Stop it with Ctrl-C.""")
    signal.pause()


def step(title: str, work: Callable[[], str]) -> None:
    began = time.monotonic()
    print(f"{title} ... ", end="", flush=True)
    result = work()
    print(f"{result}  [{time.monotonic() - began:.1f} s]", flush=True)


def expect(holds: bool, sentence: str) -> None:
    if not holds:
        raise DemoFailedError(sentence)


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        expect(time.monotonic() < deadline, f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
    return value


def phases(server_timing: str) -> str:
    """`wait;dur=7.1, claim;dur=0.4` as `wait 7.1 ms, claim 0.4 ms`."""
    return ", ".join(re.sub(r";dur=([\d.]+)", r" \1 ms", part) for part in server_timing.split(", "))


def processes() -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                found.append((int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()))
            except OSError:
                continue
    return found


def indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


def tail(path: Path, lines: int = 30) -> str:
    return "\n".join(path.read_text().splitlines()[-lines:]) if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
