"""requirements.txt as pip reads it, minus what does not belong in an upload; every refusal names its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.builder.requirements import Requirements, read_requirements, release
from pilotlight.core.errors import InvalidRequirements

FLOOR = {"uvloop": "0.21", "httptools": "0.6.4"}
HASH = "sha256:" + "a" * 64


def read(text: str, **others: str) -> Requirements:
    files = {"requirements.txt": text} | {name.replace("__", "/") + ".txt": value for name, value in others.items()}
    return read_requirements(lambda path: files[path].encode() if path in files else None, FLOOR)


def refused(text: str, **others: str) -> InvalidRequirements:
    with pytest.raises(InvalidRequirements) as caught:
        read(text, **others)
    assert caught.value.location is not None
    return caught.value


def test_no_file_and_an_empty_file_ask_for_nothing() -> None:
    assert read_requirements(lambda path: None, FLOOR) == read("\n# nothing\n\n") == Requirements()


def test_comments_continuations_extras_and_markers_are_read() -> None:
    found = read('# a\nnumpy>=1, \\\n  <3  # why\nrequests[socks]==2.32 ; python_version >= "3.8"\n').wanted
    assert [each.name for each in found] == ["numpy", "requests"]
    assert found[0].text == "numpy>=1,    <3"
    assert [each.location.line for each in found] == [2, 4]


def test_hashes_are_kept_apart() -> None:
    (found,) = read(f"idna==3.4 \\\n    --hash={HASH}\n").wanted
    assert (found.text, found.hashes) == ("idna==3.4", (HASH,))


def test_included_files_are_followed_relative_to_the_one_that_names_them() -> None:
    found = read("-r deps/base.txt\n", deps__base="-rmore.txt\nidna\n", deps__more="six\n")
    assert [(each.name, each.location.file) for each in found.wanted] == [
        ("six", "deps/more.txt"),
        ("idna", "deps/base.txt"),
    ]


def test_constraints_are_no_wishes() -> None:
    found = read("numpy\n--constraint limits.txt\n", limits="numpy<2\n")
    assert [each.text for each in found.wanted] == ["numpy"]
    assert [each.text for each in found.constraints] == ["numpy<2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-e .", "editable"),
        ("./local", "a path on the server"),
        ("../x.whl", "a path on the server"),
        ("/etc/passwd", "a path on the server"),
        ("thing-1.0-py3-none-any.whl", "a path on the server"),
        ("file:///tmp/x.whl", "a path on the server"),
        ("x @ file:///tmp/x.whl", "only https"),
        ("x @ http://example.com/x.whl", "https, not http"),
        ("https://example.com/x.whl", "package's name before it"),
        ("git+https://example.com/x", "version control"),
        ("x @ git+https://example.com/x", "version control"),
        ("--index-url https://example.com/simple", "server's settings"),
        ("-ihttps://example.com/simple", "server's settings"),
        ("--find-links=/tmp", "server's settings"),
        ("--trusted-host example.com", "server's settings"),
        ("--pre", "not supported"),
        ("-r ../up.txt", "outside of the handler's folder"),
        ("-r /etc/passwd", "not a file of the folder"),
        ("-r https://example.com/r.txt", "not a file of the folder"),
        ("-r", "name is missing"),
        ("numpy 1.0", "no requirement"),
        ("idna==3 --hash=md5:00", "no hash"),
        ("x @ https://example.com/${HOME}/x.whl", "variables"),
    ],
)
def test_what_does_not_belong_in_an_upload_is_refused_with_its_line(text: str, words: str) -> None:
    error = refused(f"# first\n{text}\n")
    assert words in error.detail
    assert error.location
    assert (error.location.file, error.location.line, error.location.source) == ("requirements.txt", 2, text)


def test_a_missing_file_is_refused_where_it_is_named() -> None:
    error = refused("six\n-r gone.txt\n")
    assert error.detail == "requirements.txt:2: there is no file gone.txt"


def test_a_circle_of_files_is_refused() -> None:
    assert "requirements.txt -> a.txt -> requirements.txt" in refused("-r a.txt\n", a="-r requirements.txt\n").detail


@pytest.mark.parametrize(
    "text", ["uvloop==0.20.0", "uvloop<0.21", "uvloop<=0.20", "uvloop~=0.19.0", "httptools==0.6.*", "UVLoop == 0.17"]
)
def test_a_pin_below_the_runtimes_floor_is_refused(text: str) -> None:
    expected = text != "httptools==0.6.*"
    assert ("is too old" in refused(text).detail) if expected else read(text)


@pytest.mark.parametrize(
    "text",
    ["uvloop", "uvloop==0.21.0", "uvloop>=0.17", "uvloop~=0.21", "uvloop<1", "httptools<=0.6.4", "httptools==0.7.1"],
)
def test_a_version_that_the_runtime_can_work_with_is_fine(text: str) -> None:
    assert len(read(text).wanted) == 1


def test_versions_compare_by_number() -> None:
    assert release("0.9") < release("0.21.0") == release("0.21") < release("1")


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_location(text: str) -> None:
    try:
        read(text)
    except InvalidRequirements as error:
        assert error.location is not None


@given(st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read_requirements(lambda path: data if path == "requirements.txt" else None, FLOOR)
    except InvalidRequirements as error:
        assert error.location is not None
