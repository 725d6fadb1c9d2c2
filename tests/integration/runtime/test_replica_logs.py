"""What a function prints, found again in its log."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pilotlight_runtime.logs import MAX_TEXT_BYTES, ROTATE_BYTES, parse_line
from tests.integration.runtime.zygote_harness import Replica, Zygote, until


@pytest.mark.parametrize("prefix", ["", "async "], ids=["sync", "async"])
def test_records_carry_the_call_they_were_printed_under(zygote: Zygote, prefix: str) -> None:
    pause = "await asyncio.sleep(0.001)" if prefix else "time.sleep(0.001)"
    source = f"""
import asyncio, sys, time
{prefix}def handle(event, context):
    for number in range(5):
        print(context.call_id, end=" ")
        {pause}
        print(number, "out")
        print(context.call_id, number, "err", file=sys.stderr)
"""
    replica = zygote.serve(source, concurrency=20)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda n: replica.call(headers={"X-Call-Id": f"call-{n}"}), range(20)))
    records = replica.records()
    assert len(records) == 20 * 5 * 2
    assert all(record.call_id == record.text.split()[0] for record in records)
    assert all(record.stream == record.text.split()[2][0] for record in records)


CARRIED = """
import asyncio, logging, contextvars, threading
from concurrent.futures import ThreadPoolExecutor
logging.basicConfig(level=logging.INFO, format="%(message)s")
async def handle(event, context):
    async def later():
        await asyncio.sleep(0.01)
        print("task")
    task = asyncio.create_task(later())
    await asyncio.to_thread(print, "to_thread")
    logging.getLogger("a.b").info("logging")
    await asyncio.to_thread(logging.info, "logging in a thread")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(contextvars.copy_context().run, print, "copied").result()
        pool.submit(print, "bare thread").result()
    async with asyncio.TaskGroup() as group:
        group.create_task(later())
    await task
"""


def test_what_a_handler_starts_prints_under_its_call_but_for_bare_threads(zygote: Zygote) -> None:
    replica = zygote.serve(CARRIED, concurrency=10)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda n: replica.call(headers={"X-Call-Id": f"call-{n}"}), range(5)))
    found: dict[str, list[str | None]] = {}
    for record in replica.records():
        found.setdefault(record.text, []).append(record.call_id)
    calls = [f"call-{n}" for n in range(5)]
    for text in ("to_thread", "logging", "logging in a thread", "copied"):
        assert sorted(map(str, found[text])) == calls, text
    assert sorted(map(str, found["task"])) == sorted(calls * 2)
    assert found["bare thread"] == [None] * 5


def test_a_task_that_outlives_its_call_prints_under_it(zygote: Zygote) -> None:
    source = """
import asyncio
tasks = set()
async def handle(event, context):
    async def later():
        await asyncio.sleep(0.02)
        print("after the answer")
    tasks.add(asyncio.create_task(later()))
    return "now"
"""
    replica = zygote.serve(source)
    replica.call(headers={"X-Call-Id": "c1"})
    [record] = until(replica.records)
    assert (record.text, record.call_id) == ("after the answer", "c1")


def test_what_a_preimported_module_kept_of_the_streams_leads_to_the_records(
    start_zygote: Callable[..., Zygote], folder: Path
) -> None:
    modules = folder / "modules"
    modules.mkdir(mode=0o755)
    (modules / "talkative.py").write_text(
        "import logging, sys\nout = sys.stdout\nlog = logging.getLogger('talkative')\n"
        "log.addHandler(logging.StreamHandler())\n"
    )
    zygote = start_zygote({"PYTHONPATH": str(modules)}, preimports=["talkative"])
    assert zygote.hello["preimported"] == ["talkative"]
    source = """
import talkative
def handle(event, context):
    talkative.log.warning("by its handler")
    print("by its stream", file=talkative.out)
"""
    replica = zygote.serve(source)
    replica.call(headers={"X-Call-Id": "c1"})
    assert [(record.text, record.call_id, record.stream) for record in replica.records()] == [
        ("by its handler", "c1", "e"),
        ("by its stream", "c1", "o"),
    ]


def test_a_line_without_its_newline_is_written_at_the_calls_end(zygote: Zygote) -> None:
    replica = zygote.serve(
        "def handle(event, context):\n    print('un', end='', flush=True)\n    print('ended', end='')\n"
    )
    replica.call(headers={"X-Call-Id": "c1"})
    (record,) = replica.records()
    assert (record.text, record.call_id) == ("unended", "c1")
    assert abs((record.microseconds or 0) / 1e6 - time.time()) < 10


def test_raw_writes_and_those_of_other_processes_are_there_too(zygote: Zygote) -> None:
    source = """
import os, subprocess
def handle(event, context):
    os.write(1, b"raw one\\n")
    os.write(2, b"raw two\\n")
    subprocess.run(["echo", "from echo"], check=True)
    print("printed")
"""
    replica = zygote.serve(source)
    replica.call()
    assert [(record.stream, record.text) for record in replica.records()] == [
        ("e", "raw one"), ("e", "raw two"), ("e", "from echo"), ("o", "printed"),
    ]  # fmt: skip


def test_printing_in_init_and_at_import_has_no_call(zygote: Zygote) -> None:
    source = "print('importing')\ndef init():\n    print('in init', end='')\ndef handle(e, c): pass\n"
    replica = zygote.serve(source)
    assert [(record.text, record.call_id) for record in replica.records()] == [("importing", None), ("in init", None)]


def test_a_forked_process_prints_records_too(zygote: Zygote) -> None:
    source = """
import os
def handle(event, context):
    pid = os.fork()
    if pid == 0:
        print("from the child")
        os._exit(0)
    os.waitpid(pid, 0)
"""
    replica = zygote.serve(source)
    replica.call(headers={"X-Call-Id": "c1"})
    (record,) = replica.records()
    assert (record.text, record.call_id) == ("from the child", "c1")


def test_sys_stdout_is_a_text_stream_like_any_other(zygote: Zygote) -> None:
    source = """
import sys
def handle(event, context):
    sys.stdout.reconfigure(line_buffering=True)
    sys.stdout.buffer.write(b"bytes\\n")
    sys.stdout.writelines(["caf\\u00e9 \\udce9\\n"])
    return [sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.isatty(), sys.stdout.encoding, sys.stderr.name]
"""
    replica = zygote.serve(source)
    assert replica.call().json() == [1, 2, False, "utf-8", "<stderr>"]
    assert replica.lines() == ["bytes", "café \\udce9"]


def test_a_long_line_is_cut_between_characters(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context):\n    print('x' + 'é' * 100_000)\n")
    replica.call()
    lines = replica.lines()
    assert "".join(lines) == "x" + "é" * 100_000
    assert all(len(line.encode()) <= MAX_TEXT_BYTES for line in lines)


@pytest.mark.parametrize(
    "statement",
    ["print(number, 'x' * 1000)", "import os; os.write(1, b'%d ' % number + b'x' * 1000 + b'\\n')"],
    ids=["printed", "raw"],
)
def test_a_flood_is_turned_over_and_nothing_of_the_last_part_is_lost(zygote: Zygote, statement: str) -> None:
    source = f"def handle(event, context):\n    for number in range(15_000):\n        {statement}\n"
    replica = zygote.serve(source)
    inodes = [os.stat(path).st_ino for path in (replica.log, replica.log_previous)]
    replica.call()
    until(lambda: replica.log.stat().st_size < ROTATE_BYTES * 1.1)
    assert [os.stat(path).st_ino for path in (replica.log, replica.log_previous)] == inodes
    numbers = _numbers_in(replica)
    assert len(numbers) >= 9_000
    assert numbers == list(range(15_000 - len(numbers), 15_000))


def _numbers_in(replica: Replica) -> list[int]:
    lines = replica.log_previous.read_bytes().splitlines() + replica.log.read_bytes().splitlines()
    texts = [parse_line(line).text.split() for line in lines]
    return [int(words[0]) for words in texts if len(words) == 2 and len(words[1]) == 1000]
