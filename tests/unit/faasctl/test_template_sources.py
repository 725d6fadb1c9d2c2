"""Templates of other people, from folders, archives and repositories: what lands in template/, and what is refused."""

import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasctl import template_sources
from faasctl.errors import CliError
from faasctl.template_sources import parse_source, pull

FILES = {
    "template/ruby/template.yml": b"language: ruby\n",
    "template/ruby/Dockerfile": b"FROM scratch\n",
    "template/ruby/function/handler.rb": b"puts 1\n",
    "template/go/template.yml": b"language: go\n",
    "template/go/Dockerfile": b"FROM scratch\n",
    "README.md": b"not a template\n",
}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def tar(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as packed:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
        for info in more:
            packed.addfile(info)
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return path


def below(top: str) -> dict[str, bytes]:
    return {f"{top}/{name}": data for name, data in FILES.items()}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def fetched(source: Path | str, project: Path, *, overwrite: bool = False) -> tuple[str, ...]:
    return pull(parse_source(str(source)), project, overwrite=overwrite).names


def refused(source: Path | str, project: Path, *, overwrite: bool = False) -> tuple[str, str]:
    with pytest.raises(CliError) as caught:
        fetched(source, project, overwrite=overwrite)
    (problem,) = caught.value.problems
    assert [path for path in project.rglob("*") if ".pull-" in path.name] == []
    return problem.slug, problem.detail


SOURCES: dict[str, Callable[[Path], Path]] = {
    "folder": lambda tmp: write(tmp / "source", FILES),
    "tar.gz": lambda tmp: tar(tmp / "source.tar.gz", below("templates-main")),
    "tar": lambda tmp: tar(tmp / "source.tar", FILES),
    "zip": lambda tmp: zipped(tmp / "source.zip", below("templates-main")),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_all_templates_of_a_source_land_in_the_project(kind: str, tmp_path: Path, project: Path) -> None:
    assert fetched(SOURCES[kind](tmp_path), project) == ("go", "ruby")
    assert (project / "template/ruby/function/handler.rb").read_bytes() == b"puts 1\n"
    assert (project / "template/ruby/meta.json").is_file()
    assert sorted(path.name for path in (project / "template").iterdir()) == ["go", "ruby"]


def test_a_folder_that_is_a_template_itself_is_one(tmp_path: Path, project: Path) -> None:
    write(tmp_path, FILES)
    assert fetched(tmp_path / "template/ruby", project) == ("ruby",)
    assert fetched(tmp_path / "template", project, overwrite=True) == ("go", "ruby")


def test_an_archive_of_one_template_has_its_folders_or_its_own_name(tmp_path: Path, project: Path) -> None:
    files = {"template.yml": b"", "Dockerfile": b"FROM scratch\n"}
    assert fetched(zipped(tmp_path / "perl.zip", files), project) == ("perl",)
    assert fetched(tar(tmp_path / "x.tgz", {f"lua/{name}": data for name, data in files.items()}), project) == ("lua",)


def test_only_one_can_be_wanted(tmp_path: Path, project: Path) -> None:
    source = parse_source(str(write(tmp_path / "source", FILES)))
    assert pull(source, project, overwrite=False, only="go").names == ("go",)
    assert not (project / "template/ruby").exists()
    with pytest.raises(CliError, match="has no template `java`; it has: go, ruby"):
        pull(source, project, overwrite=False, only="java")


def test_what_is_there_stays_unless_it_may_be_replaced(tmp_path: Path, project: Path) -> None:
    source = write(tmp_path / "source", FILES)
    write(project, {"template/ruby/mine": b"mine"})
    slug, detail = refused(source, project)
    assert slug == "template-exists"
    assert "template/ruby is there already" in detail
    assert not (project / "template/go").exists()
    fetched(source, project, overwrite=True)
    assert not (project / "template/ruby/mine").exists()


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "template/../../evil", "template\\evil", "C:/evil", "template/ruby/../../../evil"]
)
def test_a_path_that_leads_outside_is_refused(name: str, tmp_path: Path, project: Path) -> None:
    for archive in (tar(tmp_path / "a.tar", {**FILES, name: b""}), zipped(tmp_path / "a.zip", {**FILES, name: b""})):
        slug, detail = refused(archive, project)
        assert slug == "template-source"
        assert "a path that leads outside" in detail
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, tmp_path: Path, project: Path) -> None:
    info = tarfile.TarInfo("template/ruby/link")
    info.type, info.linkname = kind, "/etc/passwd"
    assert "a link or device" in refused(tar(tmp_path / "a.tar", FILES, info), project)[1]


def test_links_in_zips_and_folders_are_refused(tmp_path: Path, project: Path) -> None:
    link = zipfile.ZipInfo("template/ruby/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(zipped(tmp_path / "a.zip", FILES), "a") as packed:
        packed.writestr(link, "/etc/passwd")
    assert "holds a link" in refused(tmp_path / "a.zip", project)[1]
    (write(tmp_path / "source", FILES) / "template/ruby/link").symlink_to("/etc/passwd")
    assert "holds a link" in refused(tmp_path / "source", project)[1]


def test_what_is_too_large_is_refused_while_it_is_unpacked(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_sources, "UNPACKED_LIMIT_BYTES", 1000)
    big = zipped(tmp_path / "a.zip", {**FILES, "template/ruby/big": b"0" * 10_000})
    assert "holds more than" in refused(big, project)[1]


@pytest.mark.parametrize(
    ("files", "slug", "says"),
    [
        ({"README.md": b""}, "template-source", "has no template: no folder `template/NAME`"),
        ({"template/x/template.yml": b""}, "template-wrong", "its template x has no Dockerfile"),
        ({"template/x/template.yml": b"[", "template/x/Dockerfile": b""}, "template-wrong", "template.yml is wrong"),
        ({"template/a b/Dockerfile": b""}, "template-source", "a template called `a b`; a template's name is a-z"),
    ],
)
def test_what_is_no_template_is_told(
    files: dict[str, bytes], slug: str, says: str, tmp_path: Path, project: Path
) -> None:
    found, detail = refused(write(tmp_path / "source", files), project)
    assert found == slug
    assert says in detail


@pytest.mark.parametrize(
    ("source", "slug", "says"),
    [
        ("/no/such/folder", "template-unreachable", "is not there"),
        ("http://templates.example.org/a.zip", "template-source", "must be an https:// address"),
        ("http://127.0.0.1:9/a.zip", "template-unreachable", "cannot be fetched: Connection refused"),
        ("http://127.0.0.1:9/a.git", "template-unreachable", "cannot be fetched: unable to access"),
        ("--upload-pack=x", "usage", "no address and no path"),
        ("x#--y", "usage", "no address and no path"),
    ],
)
def test_what_cannot_be_fetched_is_told(source: str, slug: str, says: str, project: Path) -> None:
    found, detail = refused(source, project)
    assert found == slug
    assert says in detail


def test_a_file_that_is_no_archive_is_told(tmp_path: Path, project: Path) -> None:
    write(tmp_path, {"a.zip": b"no zip", "a.tar.gz": b"\x1f\x8bno", "a.txt": b""})
    for name in ("a.zip", "a.tar.gz"):
        assert "no archive that can be read" in refused(tmp_path / name, project)[1]
    assert "its name must end with .zip" in refused(tmp_path / "a.txt", project)[1]


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")
def test_a_repository_is_fetched_at_a_tag_or_a_commit(tmp_path: Path, project: Path) -> None:
    repository = write(tmp_path / "repository", FILES)

    def git(*words: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        done = subprocess.run(["git", "-C", repository, *who, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    first = git("rev-parse", "HEAD")
    git("tag", "v1")
    write(repository, {"template/ruby/Dockerfile": b"FROM later\n"})
    git("commit", "-qam", "two")
    dockerfile = project / "template/ruby/Dockerfile"
    for reference, text in (("#v1", b"FROM scratch\n"), ("", b"FROM later\n"), (f"#{first}", b"FROM scratch\n")):
        fetched(f"file://{repository}{reference}", project, overwrite=True)
        assert dockerfile.read_bytes() == text
    facts = json.loads((project / "template/ruby/meta.json").read_text())
    assert facts == {"repository": f"file://{repository}", "ref_name": first, "sha": first}
    assert "Remote branch v9 not found" in refused(f"file://{repository}#v9", project, overwrite=True)[1]


def test_without_git_an_archive_is_recommended(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert refused("https://git.example.org/team/templates.git", project)[0] == "git-missing"


def test_a_password_in_the_address_is_not_kept(tmp_path: Path) -> None:
    source = parse_source("https://me:secret@git.example.org/x.git")
    assert "secret" not in template_sources._meta(source, None)
    said = str(template_sources._unreachable(source, "no way to https://me:secret@git.example.org/x.git"))
    assert "secret" not in said
    assert "no way to https://git.example.org/x.git" in said


def test_a_password_in_an_archives_address_is_sent_as_one() -> None:
    request = template_sources._request(parse_source("https://me:se%40cret@git.example.org/x.zip"))
    assert request.full_url == "https://git.example.org/x.zip"
    assert b64decode(request.get_header("Authorization", "").removeprefix("Basic ")) == b"me:se@cret"
    assert not template_sources._request(parse_source("https://git.example.org/x.zip")).has_header("Authorization")


@given(st.text(max_size=40))
def test_no_name_in_an_archive_leads_outside(name: str) -> None:
    try:
        parts = template_sources._parts(name, parse_source("x.zip"))
    except CliError:
        return
    assert parts
    assert not any(part in ("..", ".", "/", "") or "/" in part for part in parts)
