"""An image's context is the same whoever packs it, and a build is given what its Dockerfile asks for."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.builder.archive import SourceFile
from pilotlight.builder.docker import build_arguments
from pilotlight.builder.image_context import Context, held, read_folder, without_ignored
from pilotlight.builder.image_functions import requirements_text, with_dockerfile
from pilotlight.builder.image_index import index_arguments, index_secret
from pilotlight.builder.index import IndexSettings
from pilotlight.builder.requirements import read_requirements
from pilotlight.core.errors import InvalidInput, InvalidSetting

FILES = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), st.binary(max_size=40), min_size=1, max_size=6
)


def context(files: dict[str, bytes], **changes: object) -> Context:
    return Context(files={path: held(data) for path, data in files.items()}, **changes)  # type: ignore[arg-type]


@given(FILES)
def test_the_same_files_in_any_order_are_the_same_context(files: dict[str, bytes]) -> None:
    backwards = dict(reversed(files.items()))
    assert context(files).digest == context(backwards).digest
    assert b"".join(context(files).tar()) == b"".join(context(backwards).tar())


@given(FILES, FILES)
def test_different_files_have_different_digests(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (context(one).digest == context(other).digest) == (one == other)


@given(st.dictionaries(st.from_regex(r"[a-z\u00e4]{1,120}", fullmatch=True), st.binary(max_size=2000), max_size=4))
def test_every_tar_can_be_read_again(files: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(context(files).tar()))) as tar:
        found = {each.name: tar.extractfile(each) for each in tar.getmembers()}
        assert {name: file.read() for name, file in found.items() if file is not None} == files


def test_a_file_on_the_disk_is_as_one_in_memory(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(3_000_000))
    (tmp_path / "a").chmod(0o755)
    lying = Context(files=read_folder(tmp_path))
    there = Context(files={"a": held(bytes(3_000_000), executable=True)})
    assert lying.digest == there.digest
    assert b"".join(lying.tar()) == b"".join(there.tar())
    assert max(map(len, lying.tar())) <= 2**20


def test_a_digest_that_is_known_is_not_taken_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    known = SourceFile(path="a", size=1, executable=True, digest="d" * 64)
    assert read_folder(tmp_path, known=[known])["a"].digest == "d" * 64


def test_arguments_base_and_secrets_names_count_and_proxies_do_not() -> None:
    files = {"Dockerfile": b"FROM x"}
    plain = context(files).digest
    assert context(files, arguments={"A": "1"}).digest != plain
    assert context(files, base="x=sha256:2").digest != plain
    assert context(files, secrets=frozenset({"npmrc"})).digest != plain
    assert context(files, arguments={"HTTPS_PROXY": "http://p:3128"}).digest == plain


def test_byte_code_goes_along_and_does_not_count() -> None:
    """The same source may be compiled to other bytes."""
    one, other = ({"f/a.py": b"1", "f/__pycache__/a.pyc": code} for code in (b"x", b"y"))
    assert context(one).digest == context(other).digest
    assert b"".join(context(one).tar()) != b"".join(context(other).tar())


def test_a_program_stays_one() -> None:
    one = Context(files={"run": held(b"", executable=True)})
    assert one.digest != context({"run": b""}).digest
    assert b"0000755" in b"".join(one.tar())


def test_what_tools_leave_in_a_folder_is_left_out_and_links_are_refused(tmp_path: Path) -> None:
    for folder in ("__pycache__", "build", "kept/build"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x").write_bytes(b"")
    (tmp_path / "handler.py").write_text("1")
    found = read_folder(tmp_path, below="function", skip_top=frozenset({"build"}))
    assert list(found) == ["function/handler.py", "function/kept/build/x"]
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="a link"):
        read_folder(tmp_path)


def test_dockerignore_leaves_files_out_and_never_the_dockerfile() -> None:
    rules = b"# note\n*\n!src\nsrc/*.log\n"
    files = {path: held(b"") for path in ("Dockerfile", "a", "src/a", "src/b.log", "deep/er/x")}
    assert set(without_ignored(files)) == set(files)
    assert set(without_ignored(files | {".dockerignore": held(rules)})) == {"Dockerfile", ".dockerignore", "src/a"}


def test_a_password_never_becomes_a_build_argument() -> None:
    private = IndexSettings(variables={"UV_DEFAULT_INDEX": "https://u:p@index.example/simple", "HTTPS_PROXY": "p:1"})
    assert index_arguments(private) == {"https_proxy": "p:1"}
    assert index_secret(private) == b"[global]\nindex-url = https://u:p@index.example/simple\n"
    open_ = IndexSettings(variables={"UV_INDEX": "file:///opt/x https://index.example/simple"})
    assert index_arguments(open_) == {"PIP_EXTRA_INDEX_URL": "https://index.example/simple"}
    assert index_secret(open_) is None


def test_the_servers_own_arguments_are_names_and_values() -> None:
    assert build_arguments(["A=1", "B=x=y"]) == {"A": "1", "B": "x=y"}
    with pytest.raises(InvalidSetting, match="'A' must be NAME=VALUE"):
        build_arguments(["A"])


def test_the_dockerfile_of_a_template_is_its_own_or_that_of_the_one_it_is_like(tmp_path: Path) -> None:
    for name, text in (("base", "language: base"), ("child", "like: base"), ("round", "like: round"), ("bare", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "template.yml").write_text(text)
    (tmp_path / "base" / "Dockerfile").write_text("FROM x")
    found = [with_dockerfile(tmp_path, tmp_path / name).name for name in ("base", "child", "round", "bare", "none")]
    assert found == ["base", "base", "round", "bare", "none"]


def test_requirements_keep_their_hashes() -> None:
    text = b"six==1.17.0 --hash=sha256:" + b"a" * 64 + b"\n# note\nidna\n"
    wanted = read_requirements(lambda path: text if path == "requirements.txt" else None, {}).wanted
    assert requirements_text(wanted) == b"six==1.17.0 --hash=sha256:" + b"a" * 64 + b"\nidna\n"
