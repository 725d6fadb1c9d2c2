"""Unpacking what a stranger sent: everything but regular files and folders below one directory is refused."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotlight.builder.archive import ArchiveLimits, SourceFile, parts_of, unpack
from pilotlight.core.errors import InvalidSource, PilotlightError, TooLarge

LIMITS = ArchiveLimits(unpacked_bytes=1_000_000, files=50)
Unpack = Callable[[bytes], tuple[SourceFile, ...]]


@pytest.fixture
def unpacked(tmp_path: Path) -> Unpack:
    def run(data: bytes, limits: ArchiveLimits = LIMITS) -> tuple[SourceFile, ...]:
        (tmp_path / "source.tar").write_bytes(data)
        (tmp_path / "out").mkdir()
        return unpack(tmp_path / "source.tar", tmp_path / "out", limits)

    return run


def member(name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.linkname = kind, len(data), mode, link
    padding = b"\0" * (-len(data) % 512)
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + data + padding


def extension(kind: bytes, data: bytes) -> bytes:
    return member("././@LongLink", data, kind=kind)


def pax(**records: str) -> bytes:
    data = b""
    for key, value in records.items():
        record = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(record) + len(str(len(record) + 2))
        data += str(length).encode() + record
    return extension(tarfile.XHDTYPE, data)


END = b"\0" * 1024


def test_files_and_folders_come_out_sorted_with_their_digests(unpacked: Unpack, tmp_path: Path) -> None:
    files = unpacked(member("b/c.txt", b"two") + member("a.py", b"one") + member("empty", kind=tarfile.DIRTYPE) + END)
    assert [file.path for file in files] == ["a.py", "b/c.txt"]
    assert (tmp_path / "out/b/c.txt").read_bytes() == b"two"
    assert (tmp_path / "out/empty").is_dir()


def test_gzip_is_found_out_by_its_magic_number(unpacked: Unpack) -> None:
    assert unpacked(gzip.compress(member("a.py", b"x") + END))[0].path == "a.py"


def test_modes_and_times_are_normalised(unpacked: Unpack, tmp_path: Path) -> None:
    unpacked(member("a.py", b"x", mode=0o6777) + member("b.py", b"x", mode=0o400) + END)
    found = [(tmp_path / "out" / name).stat() for name in ("a.py", "b.py")]
    assert [(each.st_mode & 0o7777, int(each.st_mtime)) for each in found] == [(0o755, 315532800), (0o644, 315532800)]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../up", "a/../../up", "a/..", "a\nb", "a\x7f", "\udcff", "x" * 256, "/".join("a" * 33)]
)
def test_a_name_that_could_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(InvalidSource):
        parts_of(name)


def test_dots_and_double_slashes_mean_nothing() -> None:
    assert parts_of("./a//b/./c/") == ("a", "b", "c")


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "named pipe"),
        (tarfile.GNUTYPE_SPARSE, "sparse"),
        (b"Z", "unknown type"),
    ],
)
def test_what_is_no_file_and_no_folder_is_refused_by_name(unpacked: Unpack, kind: bytes, word: str) -> None:
    with pytest.raises(InvalidSource, match=f"bad.thing: .*{word}"):
        unpacked(member("ok.py", b"x") + member("bad.thing", kind=kind, link="/etc/passwd") + END)


def test_a_path_may_come_once(unpacked: Unpack) -> None:
    with pytest.raises(InvalidSource, match=r"a\.py: the archive has this path twice"):
        unpacked(member("a.py", b"1") + member("./a.py", b"2") + END)


def test_a_file_is_no_folder(unpacked: Unpack) -> None:
    with pytest.raises(InvalidSource, match="a is a file in this archive"):
        unpacked(member("a", b"1") + member("a/b", b"2") + END)


def test_a_folder_is_no_file(unpacked: Unpack) -> None:
    with pytest.raises(InvalidSource, match="twice"):
        unpacked(member("a/b", b"2") + member("a", b"1") + END)


def test_leftovers_of_tools_are_left_out(unpacked: Unpack) -> None:
    data = member("__pycache__/a.pyc", b"x") + member("lib/.git/config", b"x") + member("a.py", b"x") + END
    assert [file.path for file in unpacked(data)] == ["a.py"]


def test_a_bomb_is_stopped_while_it_is_written(tmp_path: Path, unpacked: Unpack) -> None:
    with pytest.raises(TooLarge, match="unpacks to more than"):
        unpacked(gzip.compress(member("zeros", b"\0" * 2_000_000) + END))
    assert (tmp_path / "out/zeros").stat().st_size <= LIMITS.unpacked_bytes


def test_ignored_members_count_too(unpacked: Unpack) -> None:
    with pytest.raises(TooLarge):
        unpacked(gzip.compress(member(".git/pack", b"\0" * 2_000_000) + END))


def test_too_many_members_are_refused(unpacked: Unpack) -> None:
    with pytest.raises(TooLarge, match="more than 50 files"):
        unpacked(b"".join(member(f"{number}.py", b"x") for number in range(51)) + END)


def test_long_names_of_both_kinds_are_read(unpacked: Unpack) -> None:
    gnu, posix = "g" * 150 + ".py", "p" * 150 + ".py"
    data = extension(tarfile.GNUTYPE_LONGNAME, gnu.encode() + b"\0") + member("short", b"1")
    files = unpacked(data + pax(path=posix) + member("short", b"2") + END)
    assert [file.path for file in files] == [gnu, posix]


def test_a_long_name_is_checked_like_any_other(unpacked: Unpack) -> None:
    with pytest.raises(InvalidSource, match=r"`\.\.` in the path"):
        unpacked(pax(path="../../etc/cron.d/x") + member("short", b"1") + END)


def test_a_huge_extended_header_is_not_read_into_memory(unpacked: Unpack) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**40
    with pytest.raises(InvalidSource, match="more than 64 KiB"):
        unpacked(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 512)


def test_extended_headers_without_end_are_refused(unpacked: Unpack) -> None:
    with pytest.raises(InvalidSource, match="in a row"):
        unpacked(pax(comment="x") * 10 + member("a.py", b"1") + END)


@pytest.mark.parametrize("records", [{"size": "-5"}, {"size": "9" * 30}, {"GNU__sparse__map": "0,1"}])
def test_pax_records_that_change_the_contents_are_refused(unpacked: Unpack, records: dict[str, str]) -> None:
    with pytest.raises(InvalidSource):
        unpacked(pax(**records) + member("a.py", b"1") + END)


def test_the_global_header_of_git_archive_is_fine(unpacked: Unpack) -> None:
    assert unpacked(extension(tarfile.XGLTYPE, b"13 comment=x\n") + member("a.py", b"1") + END)[0].path == "a.py"


def test_a_global_header_with_a_path_is_not(unpacked: Unpack) -> None:
    with pytest.raises(InvalidSource, match="sets path for all"):
        unpacked(extension(tarfile.XGLTYPE, b"10 path=a\n") + member("a.py", b"1") + END)


@pytest.mark.parametrize("keep", [0, 100, 512, 600, 1024])
def test_a_cut_archive_is_no_archive(unpacked: Unpack, keep: int) -> None:
    with pytest.raises(InvalidSource, match="cut short"):
        unpacked((member("a.py", b"x" * 600) + member("b.py", b"x") + END)[:keep])


def test_a_cut_gzip_stream_is_no_archive(unpacked: Unpack) -> None:
    with pytest.raises(InvalidSource, match="cut short"):
        unpacked(gzip.compress(member("a.py", os.urandom(5000)) + END)[:-20])


def test_a_damaged_header_names_no_half_of_the_archive_as_whole(unpacked: Unpack) -> None:
    with pytest.raises(InvalidSource, match="damaged"):
        unpacked(member("a.py", b"x") + b"garbage!" * 64 + END)


def test_an_empty_archive_says_what_it_should_hold(unpacked: Unpack) -> None:
    with pytest.raises(InvalidSource, match="holds no file"):
        unpacked(END)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_leave_anything_outside_or_raise_anything_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whole members, mutated members, and noise, in any order."""
    names = st.text(st.sampled_from("ab./\\\0é\n"), min_size=1, max_size=12)
    kinds = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.XHDTYPE, tarfile.AREGTYPE])
    parts = st.one_of(
        st.builds(lambda n, d, k: member(n, d, kind=k), names, st.binary(max_size=700), kinds),
        st.binary(max_size=1200),
    )
    archive = b"".join(data.draw(st.lists(parts, max_size=5))) + data.draw(st.sampled_from([b"", END]))
    if archive and data.draw(st.booleans()):
        position = data.draw(st.integers(0, len(archive) - 1))
        archive = archive[:position] + data.draw(st.binary(max_size=3)) + archive[position + 1 :]
    home = tmp_path_factory.mktemp("fuzz")
    (home / "source.tar").write_bytes(archive)
    (home / "out").mkdir()
    with suppress(PilotlightError):
        unpack(home / "source.tar", home / "out", LIMITS)
    assert sorted(os.listdir(home)) == ["out", "source.tar"]
    assert all(not path.is_symlink() for path in (home / "out").rglob("*"))


@given(
    contents=st.dictionaries(st.from_regex(r"[a-c]{1,3}(/[d-f]{1,3}){0,2}", fullmatch=True), st.binary(max_size=2000))
)
@settings(max_examples=50)
def test_what_tarfile_packs_is_what_comes_out(
    contents: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    contents = {name: data for name, data in contents.items() if not any(o.startswith(f"{name}/") for o in contents)}
    home = tmp_path_factory.mktemp("whole")
    with tarfile.open(home / "source.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (home / "out").mkdir()
    if contents:
        files = unpack(home / "source.tar", home / "out", LIMITS)
        assert {file.path: (home / "out" / file.path).read_bytes() for file in files} == contents
