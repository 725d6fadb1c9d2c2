"""Which Dockerfiles leave a function to the environment's image, and how pieces of a tar become a stream."""

from pathlib import Path

import pytest

from pilotlight.builder.image_pool import _Chunks, unpoolable

OURS = (Path(__file__).parents[3] / "templates/python3-http/Dockerfile").read_text()


def test_our_python_template_can_be_pooled() -> None:
    assert unpoolable(OURS) is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("RUN apt-get install -y cowsay", "RUN apt-get install -y cowsay"),
        ("ENV LD_PRELOAD=/x.so", "ENV LD_PRELOAD=/x.so"),
        ("ENV PILOTLIGHT_A=1 PATH=/x", "ENV PILOTLIGHT_A=1 PATH=/x"),
        ("COPY function/ /srv/", "COPY function/ /srv/"),
        ("COPY --from=other /x /home/app/function", "COPY --from=other /x /home/app/function"),
        ("WORKDIR /srv", "WORKDIR /srv"),
        (
            "RUN /opt/environment/bin/python -m compileall -q /home/app/function && rm -rf /tmp/x",
            "RUN /opt/environment",
        ),
        ("run \\\n  true", "run true"),
    ],
)
def test_a_last_stage_that_does_more_than_add_files_needs_its_own_image(line: str, why: str) -> None:
    said = unpoolable(f"{OURS}\n{line}\n")
    assert said is not None
    assert said.startswith(f"its last stage does more than add the function's files: {why}")


@pytest.mark.parametrize(
    ("dockerfile", "why"),
    [
        ("FROM debian\n", "its Dockerfile has no stage called environment"),
        ("", "its Dockerfile has no stage called environment"),
        ("FROM debian AS environment\nFROM environment\n", "its Dockerfile does not bring Pilotlight's runtime"),
        (
            "FROM debian AS environment\nCOPY pilotlight/runtime/ /opt/pilotlight/runtime/\nFROM debian\n",
            "its last stage does not begin with environment",
        ),
    ],
)
def test_other_dockerfiles_are_told_what_they_lack(dockerfile: str, why: str) -> None:
    assert unpoolable(dockerfile) == why


def test_pieces_are_read_as_a_stream() -> None:
    stream = _Chunks(iter([b"ab", b"", b"cdefg"]))
    assert [stream.read(3), stream.read(3), stream.read(3), stream.read(3), stream.read(1)] == [
        b"ab",
        b"cde",
        b"fg",
        b"",
        b"",
    ]
