"""What a function finds around itself: its own, and nobody else's."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.runtime.zygote_harness import Zygote, until

StartZygote = Callable[..., Zygote]


def test_variables_are_made_from_nothing(start_zygote: StartZygote) -> None:
    zygote = start_zygote({"ZYGOTES_OWN": "secret"})
    source = "import os\ndef handle(event, context): return dict(os.environ)\n"
    variables = zygote.serve(source, variables={"MINE": "1", "HOME": "/h"}, secrets_dir="/run/s").call().json()
    assert variables.pop("PATH").endswith(":/usr/local/bin:/usr/bin:/bin")
    assert variables == {
        "MINE": "1", "HOME": "/h", "LANG": "C.UTF-8", "TMPDIR": "/tmp", "OPENFAAS_NAME": "hello",
        "OPENFAAS_NAMESPACE": "openfaas-fn", "PILOTLIGHT_SECRETS": "/run/s",
    }  # fmt: skip


def test_it_leads_its_process_group_and_works_in_its_folder(zygote: Zygote) -> None:
    source = "import os\ndef handle(e, c): return [os.getpgrp() == os.getpid(), os.getcwd(), os.getpid()]\n"
    bundle = zygote.bundle(source)
    replica = zygote.serve(bundle)
    assert replica.call().json() == [True, str(bundle / "function"), replica.pid]


def test_limits_are_set_and_cores_are_not_dumped(zygote: Zygote) -> None:
    source = """
import resource as r
def handle(event, context):
    return [r.getrlimit(kind)[0] for kind in (r.RLIMIT_NOFILE, r.RLIMIT_NPROC, r.RLIMIT_CORE)]
"""
    assert zygote.serve(source, open_files=200, processes=300).call().json() == [200, 300, 0]


def test_neither_zygote_nor_replica_is_dumpable(zygote: Zygote) -> None:
    source = "import ctypes\ndef handle(e, c): return str(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
    assert zygote.serve(source).call().body == b"0"


def test_it_holds_no_descriptor_of_the_zygote(zygote: Zygote) -> None:
    """Sockets: listener, channel, the call, and two of the event loop's. The log, and its two dups."""
    source = """
import os
def handle(event, context):
    targets = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{fd}").split(":")[0])
        except OSError:
            pass
    return sorted(target.rpartition("/")[2].partition(":")[0].partition(".")[2] or target for target in targets)
"""
    held = [zygote.serve(source).call().json() for _ in range(4)]
    assert held == held[:1] * 4
    assert (held[0].count("socket"), held[0].count("log"), held[0].count("log.1")) == (5, 3, 1)


@pytest.mark.parametrize(
    "draw",
    ["random.random()", "numpy.random.random()", "numpy.random.default_rng().random()"],
)
def test_random_numbers_differ_between_replicas(start_zygote: StartZygote, draw: str) -> None:
    zygote = start_zygote(preimports=["random", "numpy.random"])
    source = f"import random, numpy\ndef handle(event, context): return str({draw})\n"
    bundle = zygote.bundle(source)
    zygote.wait_for_spares(1)
    assert len({zygote.serve(bundle).call().body for _ in range(3)}) == 3


def test_onnxruntime_imported_in_the_zygote_works_and_ends_in_the_child(start_zygote: StartZygote) -> None:
    zygote = start_zygote(preimports=["onnxruntime"])
    assert zygote.hello["preimported"] == ["onnxruntime"]
    model = os.path.abspath("functions/digits/digits.onnx")
    source = f"""
import numpy, onnxruntime
def init():
    global session
    session = onnxruntime.InferenceSession({model!r}, providers=["CPUExecutionProvider"])
def handle(event, context):
    (scores,) = session.run(["scores"], {{"scans": numpy.zeros((1, 8, 8), numpy.float32)}})
    return str(scores.shape)
"""
    replica = zygote.serve(source)
    assert replica.call().body == b"(1, 10)"
    os.kill(replica.pid, signal.SIGTERM)
    assert zygote.status_of(replica) == 0


def test_a_primed_zygote_has_run_its_script(start_zygote: StartZygote, folder: object) -> None:
    script = f"{folder}/prime.py"
    with open(script, "w") as file:
        file.write("import sys\nsys.primed = __name__\n")
    zygote = start_zygote(prime=script)
    assert zygote.hello["failed"] == {}
    assert zygote.serve("import sys\ndef handle(e, c): return str(hasattr(sys, 'primed'))\n").call().body == b"True"


def test_a_subprocess_of_a_handler_is_reaped_by_the_handler(zygote: Zygote) -> None:
    source = "import subprocess\ndef handle(e, c): return str(subprocess.run(['false']).returncode)\n"
    replica = zygote.serve(source)
    assert until(lambda: replica.call().body) == b"1"


def test_a_secret_is_read_by_name(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes("hünter2".encode())
    (tmp_path / "cert").write_bytes(b"\xff\x00")
    source = """
from pilotlight_runtime.secret_files import read_secret
def handle(event, context):
    try:
        context.secret("tokn")
    except LookupError as error:
        return [context.secret("token"), list(read_secret("cert")), str(error)]
"""
    tmp_path.chmod(0o711)
    said = zygote.serve(source, secrets_dir=str(tmp_path)).call().json()
    assert said[:2] == ["hünter2", [255, 0]]
    assert said[2].startswith("the function has no secret 'tokn' (it has cert, token); name it under `secrets:`")


def test_a_function_without_secrets_is_told_so(zygote: Zygote) -> None:
    source = """
def handle(event, context):
    try:
        context.secret("../../etc/passwd")
    except LookupError as error:
        return str(error)
"""
    assert b"has no secret '../../etc/passwd' (it has none)" in zygote.serve(source).call().body
