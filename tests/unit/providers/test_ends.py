"""Every way to end has one word and one sentence."""

import pytest

from pilotlight.providers.process.cgroups import Overuse
from pilotlight.providers.process.ends import Status, how_it_ended
from pilotlight.providers.process.messages import Ending, Failed


@pytest.mark.parametrize(
    ("status", "reason", "detail"),
    [
        (3 << 8, "exit", "exited with code 3"),
        (0, "exit", "exited with code 0"),
        (11, "signal", "killed by signal 11 (SIGSEGV)"),
        (6 | 0x80, "signal", "killed by signal 6 (SIGABRT)"),
        (9, "signal", "killed by signal 9 (SIGKILL); perhaps out of memory (it had used 512 MiB)"),
        (40, "signal", "killed by signal 40"),
    ],
)
def test_a_status_has_a_sentence(status: int, reason: str, detail: str) -> None:
    ended = how_it_ended("a", status=Status(code=status, max_rss_mib=512), stopping=False)
    assert (ended.reason, ended.detail) == (reason, detail)


def test_what_was_asked_for_is_no_accident() -> None:
    ended = how_it_ended("a", status=Status(code=15), stopping=True)
    assert (ended.reason, ended.signal) == ("stopped", 15)


def test_what_had_to_be_insisted_on_is_said() -> None:
    ended = how_it_ended("a", status=Status(code=9), stopping=True, insisted_after=2.5)
    assert (ended.reason, ended.signal) == ("killed", 9)
    assert ended.detail == "killed: it did not end within 2.5 s after it was told to"


def test_the_kernels_word_about_memory_counts_as_the_replicas_own() -> None:
    ended = how_it_ended("a", status=Status(code=9), stopping=False, overuse=Overuse(64, 65))
    assert (ended.reason, ended.detail) == ("out-of-memory", "out of memory: 65 MiB in use, the limit is 64 MiB")


def test_without_a_status_it_is_lost() -> None:
    assert how_it_ended("a", status=None, stopping=False).reason == "lost"


def test_what_was_asked_for_is_not_lost() -> None:
    assert how_it_ended("a", status=None, stopping=True).reason == "stopped"


def test_a_replicas_own_word_comes_first() -> None:
    failed = Failed(slug="init-failed", detail="ValueError: no", file="handler.py", line=4, source="x = 1")
    ended = how_it_ended("a", status=Status(code=66 << 8), stopping=True, cause=failed)
    assert (ended.reason, ended.slug, ended.file, ended.line, ended.exit_code) == (
        "load-failed", "init-failed", "handler.py", 4, 66,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("said", "reason"),
    [("out-of-memory", "out-of-memory"), ("stuck", "stuck"), ("idle", "stopped"), ("something new", "exit")],
)
def test_words_of_replicas_become_ours(said: str, reason: str) -> None:
    ended = how_it_ended("a", status=Status(code=0), stopping=False, cause=Ending(reason=said, detail="why"))
    assert (ended.reason, ended.detail) == (reason, "why")


def test_what_a_function_said_of_its_end_is_kept_in_part() -> None:
    """An exception's message may be megabytes, and a route has the last ends of its function."""
    said = Failed(slug="init-failed", detail="x" * 10**6, file="f" * 10**6, source="s" * 10**6)
    ended = how_it_ended("a", status=Status(code=0), stopping=False, cause=said)
    assert ended.detail.endswith("xxx...")
    assert ended.file is not None
    assert ended.source is not None
    assert max(len(ended.detail), len(ended.file), len(ended.source)) < 5000
