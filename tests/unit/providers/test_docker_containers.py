"""What an engine is asked for, and what is read back from it: limits, users, labels, ends, log frames, refusals."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.config import DockerSettings
from pilotlight.core.errors import PilotlightError, RevisionFailed, StartFailed
from pilotlight.engine.failures import Refused, pull_failure, start_failure
from pilotlight.engine.images import with_tag
from pilotlight.providers.base import Limits, LogLine
from pilotlight.providers.docker.containers import Place, bounds, creation, record_of, unix_seconds
from pilotlight.providers.docker.ends import Death, how_it_ended
from pilotlight.providers.docker.logs import merged, parse_frames
from pilotlight.providers.docker.probe import parse_head
from pilotlight.providers.docker.usage import usage_of
from tests.provider_support import a_launch

PLACE = Place(owner="o", network="net", published=False, init=True, secrets_dir=None)
IMAGE: dict[str, Any] = {"Id": "sha256:1", "Config": {"User": ""}}


def created(place: Place = PLACE, image: dict[str, Any] = IMAGE, **changes: Any) -> dict[str, Any]:
    return creation(a_launch("a", **changes), image, place, DockerSettings())


def inspected(body: dict[str, Any], **state: Any) -> dict[str, Any]:
    return {
        "Id": "c1",
        "Created": "2026-11-22T06:00:00.123456789Z",
        "Config": {"Labels": body["Labels"]},
        "State": {"Running": True, "Status": "running", **state},
        "NetworkSettings": {"Ports": {"8080/tcp": None}, "Networks": {"net": {"IPAddress": "172.18.0.2"}}},
    }


def test_a_container_may_do_nothing_that_it_need_not() -> None:
    host = created()["HostConfig"]
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges:true"])
    assert host["ReadonlyRootfs"] is True
    assert list(host["Tmpfs"]) == ["/tmp"]
    assert host["PidsLimit"] == 4096
    assert "NanoCpus" not in host


@pytest.mark.parametrize(
    ("own", "given_user"),
    [("", "10001:10001"), ("root", "10001:10001"), ("0", "10001:10001"), ("0:0", "10001:10001"), ("app", "app"),
     ("1000:0", "1000:0"), ("00ps", "00ps")],
)  # fmt: skip
def test_nobody_is_root_in_a_container(own: str, given_user: str) -> None:
    assert created(image={"Id": "i", "Config": {"User": own}})["User"] == given_user


def test_an_image_without_a_configuration_has_no_user() -> None:
    assert created(image={"Id": "i", "Config": None})["User"] == "10001:10001"


def test_a_limit_below_the_engines_minimum_is_raised_with_a_note() -> None:
    found = bounds(a_launch("a", limits=Limits(memory_mib=4, cpu_milli=1)), DockerSettings())
    assert (found.memory_mib, found.cpu_milli) == (6, 10)
    assert [note.split(":")[0] for note in found.notes] == ["limits.memory", "limits.cpu"]


def test_a_limit_that_can_be_given_is_given_without_swap() -> None:
    host = created(limits=Limits(memory_mib=64))["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 64 * 2**20


def test_ours_among_the_variables_cannot_be_overridden() -> None:
    body = created(variables={"OPENFAAS_NAME": "other", "fprocess": "cat"})
    assert {"OPENFAAS_NAME=hello", "OPENFAAS_NAMESPACE=test", "fprocess=cat"} <= set(body["Env"])


def test_secrets_are_mounted_where_openfaas_has_them_and_cannot_be_written() -> None:
    body = created(Place(owner="o", network="n", published=False, init=False, secrets_dir="/dev/shm/s/a"))
    (mount,) = body["HostConfig"]["Mounts"]
    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == ("/dev/shm/s/a", "/var/openfaas/secrets", True)
    assert "PILOTLIGHT_SECRETS=/var/openfaas/secrets" in body["Env"]


def test_what_adoption_needs_comes_back_from_the_labels() -> None:
    body = created(revision="7", concurrency=3, limits=Limits(memory_mib=2, cpu_milli=250))
    record = record_of(inspected(body))
    assert record is not None
    assert (record.id, record.function, record.revision, record.concurrency) == ("a", "hello.test", "7", 3)
    assert (record.memory_mib, record.cpu_milli, len(record.notes)) == (6, 250, 1)
    assert record.address == "tcp:172.18.0.2:8080"
    assert record.stop_signal == "SIGTERM"


def test_a_published_port_is_the_address() -> None:
    found = inspected(created())
    found["NetworkSettings"]["Ports"] = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}]}
    record = record_of(found)
    assert record is not None
    assert record.address == "tcp:127.0.0.1:32768"


OF_REPLICAS = {
    label for label, value in created(limits=Limits(memory_mib=64, cpu_milli=100))["Labels"].items() if value
}


@pytest.mark.parametrize("label", sorted(OF_REPLICAS))
def test_a_container_without_one_of_our_labels_is_none_of_ours(label: str) -> None:
    found = inspected(created())
    found["Config"]["Labels"] = {key: value for key, value in created()["Labels"].items() if key != label}
    assert (record_of(found) is None) == (label != "dev.pilotlight.owner")


def test_labels_that_somebody_wrote_by_hand_are_refused() -> None:
    found = inspected(created())
    found["Config"]["Labels"] = {**created()["Labels"], "dev.pilotlight.notes": "no json"}
    assert record_of(found) is None
    assert json.loads(created()["Labels"]["dev.pilotlight.notes"]) == []


@pytest.mark.parametrize(
    ("death", "changes", "reason", "detail"),
    [
        (Death(exit_code=0), {}, "exit", "exited with code 0"),
        (Death(exit_code=3), {}, "exit", "exited with code 3"),
        (Death(exit_code=137), {}, "signal", "killed by signal 9 (SIGKILL)"),
        (Death(exit_code=143), {"stopping": True}, "stopped", "stopped: killed by signal 15 (SIGTERM)"),
        (Death(exit_code=0), {"stopping": True}, "stopped", "stopped: exited with code 0"),
        (Death(exit_code=137), {"stopping": True, "insisted_after": 2.0}, "killed",
         "killed: it did not end within 2 s after it was told to"),
        (Death(exit_code=137, oom_killed=True), {"memory_mib": 128}, "out-of-memory", "out of memory, limit 128Mi"),
        (Death(exit_code=1, ended_at=10.0, oom_at=9.0), {"memory_mib": 8}, "out-of-memory",
         "out of memory, limit 8Mi"),
        (Death(exit_code=1, ended_at=100.0, oom_at=9.0), {"memory_mib": 8}, "exit", "exited with code 1"),
        (Death(exit_code=0, ended_at=10.0, oom_at=9.0), {}, "exit", "exited with code 0"),
        (Death(), {}, "lost", "its container is gone, so nobody could say how it ended"),
        (Death(exit_code=163), {}, "signal", "killed by signal 35"),
    ],
)  # fmt: skip
def test_an_end_has_one_word_and_one_sentence(death: Death, changes: dict[str, Any], reason: str, detail: str) -> None:
    ended = how_it_ended("a", death, **{"stopping": False, **changes})
    assert (ended.reason, ended.detail) == (reason, detail)
    assert (ended.exit_code is None) or (ended.signal is None)


def test_a_command_that_the_image_has_not_is_the_images_fault() -> None:
    said = "[FATAL tini (7)] exec /nope failed: No such file or directory"
    ended = how_it_ended("a", Death(exit_code=127), stopping=False, last_lines=(said,))
    assert (ended.reason, ended.slug) == ("load-failed", "image-not-runnable")
    assert ended.detail == "its image cannot be run: exec /nope failed: no such file or directory"
    assert how_it_ended("a", Death(exit_code=127), stopping=False, last_lines=("hello", said)).reason == "exit"


def test_a_handler_that_our_runtime_could_not_load_is_told_with_its_place() -> None:
    said = "import-failed: No module named 'six' (handler.py, line 3)"
    ended = how_it_ended("a", Death(exit_code=66), stopping=False, last_lines=("Traceback ...", said))
    assert (ended.reason, ended.slug, ended.file, ended.line) == ("load-failed", "import-failed", "handler.py", 3)
    assert ended.detail == "No module named 'six'"
    plain = how_it_ended("a", Death(exit_code=66), stopping=False, last_lines=("init-failed: no (really)",))
    assert (plain.slug, plain.detail, plain.file) == ("init-failed", "no (really)", None)
    assert how_it_ended("a", Death(exit_code=66), stopping=False, last_lines=("66",)).reason == "exit"


def frame(second: int, text: bytes, stream: int = 1) -> tuple[int, bytes]:
    return stream, f"2026-11-22T06:00:{second:02}.000000500Z ".encode() + text


def test_frames_are_lines_with_their_time_and_stream() -> None:
    one, two = parse_frames([frame(1, b"out\n"), frame(2, b"oh no\n", 2)], "a")
    assert (one.text, one.stream, two.text, two.stream) == ("out", "stdout", "oh no", "stderr")
    assert two.time - one.time == 1.0


def test_a_long_line_that_the_engine_cut_is_one_line_again() -> None:
    frames = [frame(1, b"a" * 10), frame(1, b"err\n", 2), frame(2, b"b\n"), frame(3, b"last, without an end")]
    assert [line.text for line in parse_frames(frames, "a")] == ["err", "a" * 10 + "b", "last, without an end"]


@given(st.lists(st.tuples(st.integers(1, 2), st.binary(max_size=80)), max_size=20))
def test_whatever_frames_hold_they_are_read(frames: list[tuple[int, bytes]]) -> None:
    assert all(line.replica == "a" for line in parse_frames(frames, "a"))


@given(st.lists(st.lists(st.integers(0, 50)), max_size=4), st.one_of(st.none(), st.integers(0, 30)))
def test_lines_of_several_replicas_are_in_order_and_the_tail_is_theirs(
    times: list[list[int]], tail: int | None
) -> None:
    parts = [[LogLine(time=float(t), replica=str(n), stream="stdout", text="") for t in sorted(part)]
             for n, part in enumerate(times)]  # fmt: skip
    every = sorted(t for part in times for t in part)
    assert [line.time for line in merged(parts, tail)] == (
        every if tail is None else every[max(0, len(every) - tail) :]
    )


def test_times_are_read_to_the_microsecond_in_any_zone() -> None:
    assert unix_seconds("2026-11-22T06:00:00.1234567Z") == unix_seconds("2026-11-22T08:00:00.123456+02:00")
    assert unix_seconds("2026-11-22T06:00:00Z") % 1 == 0
    for wrong in ("", "now", "2026-11-22"):
        with pytest.raises(ValueError, match="is no time"):
            unix_seconds(wrong)


@pytest.mark.parametrize(
    ("said", "kind", "slug"),
    [
        ("manifest for redis:nope not found: manifest unknown", RevisionFailed, "image-not-found"),
        ("pull access denied for x, repository does not exist or may require 'docker login'", RevisionFailed,
         "image-refused"),
        ("Head https://r/v2/: unauthorized: authentication required", RevisionFailed, "registry-login"),
        ("Get https://r/v2/: dial tcp: lookup r on 10.0.0.1:53: no such host", StartFailed, "registry-unreachable"),
        ("Get https://r/v2/: x509: certificate signed by unknown authority", StartFailed, "registry-tls"),
        ("toomanyrequests: You have reached your pull rate limit", StartFailed, "registry-limit"),
        ("something new", RevisionFailed, "image-refused"),
    ],
)  # fmt: skip
def test_a_refused_pull_says_whose_fault_it_is(said: str, kind: type[PilotlightError], slug: str) -> None:
    error = pull_failure("x:1", said)
    assert isinstance(error, kind)
    assert (error.slug, said in error.detail, "x:1" in error.detail) == (slug, True, True)


@pytest.mark.parametrize(
    ("refused", "slug"),
    [
        (Refused(400, "OCI runtime create failed: container_linux.go:380: starting container process caused: "
                 'exec: "nope": executable file not found in $PATH: unknown'), "image-not-runnable"),
        (Refused(400, "No command specified"), "image-not-runnable"),
        (Refused(400, "invalid reference format"), "image-not-runnable"),
        (Refused(500, "no space left on device"), "start-failed"),
    ],
)  # fmt: skip
def test_a_refused_start_says_whose_fault_it_is(refused: Refused, slug: str) -> None:
    error = start_failure("x:1", refused)
    assert error.slug == slug
    assert "container_linux" not in error.detail


@pytest.mark.parametrize(
    ("image", "parts"),
    [("redis", ("redis", "latest")), ("redis:7", ("redis", "7")), ("h:5000/a/b", ("h:5000/a/b", "latest")),
     ("h:5000/a/b:v1", ("h:5000/a/b", "v1")), ("a@sha256:00", ("a", "sha256:00"))],
)  # fmt: skip
def test_one_tag_is_pulled_never_all(image: str, parts: tuple[str, str]) -> None:
    assert with_tag(image) == parts


@pytest.mark.parametrize(
    ("head", "status", "slots"),
    [(b"HTTP/1.1 200 OK\r\nX-Pilotlight-Slots: 7\r\n\r\n", 200, 7), (b"HTTP/1.0 503 no\r\n\r\n", 503, None),
     (b"HTTP/1.1 200 OK\r\nX-Pilotlight-Slots: many\r\n\r\n", 200, None), (b"SSH-2.0\r\n\r\n", 0, None),
     (b"HTTP/1.1 \r\n\r\n", 0, None)],
)  # fmt: skip
def test_a_head_is_read_for_its_status_and_slots(head: bytes, status: int, slots: int | None) -> None:
    answer = parse_head(head)
    assert (answer.status, answer.slots) == (status, slots)


@pytest.mark.parametrize("name", ["total_inactive_file", "inactive_file"])
def test_memory_in_use_leaves_out_the_cache_that_nobody_uses(name: str) -> None:
    stats = {"memory_stats": {"usage": 10 * 2**20, "stats": {name: 4 * 2**20}}, "cpu_stats": {"cpu_usage": {"total_usage": 5e8}}}  # fmt: skip  # noqa: E501
    usage = usage_of(stats)
    assert usage is not None
    assert (usage.memory_mib, usage.cpu_seconds) == (6, 0.5)
    assert usage_of({"memory_stats": {}}) is None
