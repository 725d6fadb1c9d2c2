"""What a build is asked for: the template that goes along, and what the image's build is given."""

import tarfile
from base64 import b64encode
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import pytest

from faasctl.building import SECRET_HEADER, given_build, headers_of, packed_for, query_of, with_build
from faasctl.errors import CliError
from faasctl.stack import Function
from faasctl.stack_builds import Build
from faasctl.wire import _head


def function(folder: Path, **changes: object) -> Function:
    made = {"name": "hello", "lang": "ruby", "handler": folder, "image": None, "spec": {"name": "hello"}, **changes}
    return Function(**made)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "handler.rb").write_text("puts 1\n")
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "lib.rb").write_text("")
    (tmp_path / "template/ruby/function").mkdir(parents=True)
    for name in ("Dockerfile", "template.yml", "meta.json", "function/handler.rb"):
        (tmp_path / "template/ruby" / name).write_text(name)
    return tmp_path / "hello"


def test_a_projects_template_lies_beside_the_functions_files(folder: Path) -> None:
    template = folder.parent / "template/ruby"
    packed = packed_for(function(folder, copy=(folder.parent / "common",)), folder, template)
    with packed.file, tarfile.open(fileobj=packed.file) as tar:
        assert tar.getnames() == [
            "handler/common/lib.rb", "handler/handler.rb",
            "template/Dockerfile", "template/function/handler.rb", "template/template.yml",
        ]  # fmt: skip


def test_what_is_asked_for_says_how_the_image_is_built(folder: Path) -> None:
    build = Build(options=("dev", "extra"), args=(("A", "x=1&y"), ("B", "")))
    query = query_of(function(folder, build=build), folder)
    sent = parse_qs(urlencode({k: v for k, v in query.items() if v is not None}, doseq=True), keep_blank_values=True)
    assert sent == {
        "name": ["hello"], "template": ["ruby"], "layout": ["template"], "options": ["dev,extra"],
        "build_args": ["A=x=1&y", "B="],
    }  # fmt: skip


def test_an_ordinary_function_asks_for_nothing_more(folder: Path) -> None:
    query = query_of(function(folder), None)
    assert {name for name, value in query.items() if value is not None} == {"name", "template"}


def test_each_secret_is_a_header_line_and_no_part_of_the_archive(folder: Path) -> None:
    token = folder.parent / "token"
    token.write_bytes(b"s3cret\n")
    build = Build(secrets=(("pip", token), ("npm.token", token)))
    packed = packed_for(function(folder, build=build), folder, None)
    with packed.file as file:
        assert b"s3cret" not in file.read()
    head = _head("POST", "/", headers_of(function(folder, build=build), packed)).decode().splitlines()
    value = b64encode(b"s3cret\n").decode()
    assert [line for line in head if line.startswith(SECRET_HEADER)] == [
        f"{SECRET_HEADER}: pip={value}", f"{SECRET_HEADER}: npm.token={value}",
    ]  # fmt: skip


def test_the_command_lines_words_come_after_the_files(folder: Path) -> None:
    mine = function(folder, build=Build(options=("dev",), args=(("A", "1"), ("B", "2"))))
    (found,) = with_build([mine], given_build(["B=3", "C="], ["dev", "extra"]))
    assert found.build == Build(options=("dev", "extra"), args=(("A", "1"), ("B", "3"), ("C", "")))


@pytest.mark.parametrize("text", ["A", "=1", "1A=x", "a-b=c", ""])
def test_a_build_argument_is_a_name_and_a_value(text: str) -> None:
    with pytest.raises(CliError, match="write it as NAME=VALUE"):
        given_build([text], [])
