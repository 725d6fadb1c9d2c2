"""Reads requirements.txt as pip does, minus what does not belong in an upload.

An index belongs to the server's settings; a path on the server is nobody's business; what is fetched must be checkable
by its hash. Each requirement keeps the file and line that it came from, so that an error can show it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pilotlight.core.errors import InvalidRequirements, SourceLocation

_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(.*)", re.DOTALL)
_HASH = re.compile(r"--hash[= ]\s*(\S+)")
_HASH_VALUE = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_COMMENT = re.compile(r"(^|\s)#.*$")
_OPTION = re.compile(r"(-[a-zA-Z]|--[a-z-]+)(?:\s*=\s*|\s*)(.*)", re.DOTALL)
_CLAUSE = re.compile(r"(==|<=|~=|<)\s*(\d+(?:\.\d+)*)(\.\*)?(?=[\s,;)]|$)")
_FILES = 32
_REQUIREMENTS = 1000
_FILE_BYTES = 1024 * 1024

_INDEX_OPTIONS = {
    "-i", "--index-url", "--extra-index-url", "--pypi-url", "-f", "--find-links", "--no-index", "--trusted-host",
    "--process-dependency-links",
}  # fmt: skip
_PATH = re.compile(r"(\.{0,2}/|~|file:|[A-Za-z]:\\|\.$)|.*\.(whl|zip|tar\.gz|tar\.bz2|tgz)$", re.IGNORECASE)
_VCS = re.compile(r"(git|hg|svn|bzr)\+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    text: str
    """As uv gets it, without hashes."""
    name: str
    """Normalised (PEP 503)."""
    hashes: tuple[str, ...]
    location: SourceLocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    wanted: tuple[Requirement, ...] = ()
    constraints: tuple[Requirement, ...] = ()

    def find(self, name: str) -> Requirement | None:
        """The first one of that name, wanted ones before constraints."""
        wanted = normalised(name)
        return next((each for each in (*self.wanted, *self.constraints) if each.name == wanted), None)


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, trailing zeros cut: enough to compare with our floors."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(number) for number in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def read_requirements(
    read: Callable[[str], bytes | None], floor: Mapping[str, str], *, file: str = "requirements.txt"
) -> Requirements:
    """All requirements of a folder; none when the file is missing. `read` gives a file of the folder, or None.

    InvalidRequirements has the location of what is refused."""
    reader = _Reader(read, floor)
    if read(file) is not None:
        reader.read_file(file, (), constraint=False, named_at=None)
    return Requirements(wanted=tuple(reader.wanted), constraints=tuple(reader.constraints))


class _Reader:
    def __init__(self, read: Callable[[str], bytes | None], floor: Mapping[str, str]) -> None:
        self.wanted: list[Requirement] = []
        self.constraints: list[Requirement] = []
        self._read = read
        self._floor = floor
        self._files = 0

    def read_file(
        self, file: str, chain: tuple[str, ...], *, constraint: bool, named_at: SourceLocation | None
    ) -> None:
        where = named_at or SourceLocation(file=file)
        self._files += 1
        _check(self._files <= _FILES, f"more than {_FILES} files of requirements", where)
        _check(file not in chain, f"{file} includes itself ({' -> '.join((*chain, file))})", where)
        data = self._read(file)
        if data is None:
            raise InvalidRequirements(f"{where.file}:{where.line}: there is no file {file}", location=where)
        for location, line in _logical_lines(file, data):
            if line.startswith("-"):
                self._take_option(location, line, (*chain, file), constraint=constraint)
            else:
                self._take_requirement(location, line, constraint=constraint)

    def _take_option(self, location: SourceLocation, line: str, chain: tuple[str, ...], *, constraint: bool) -> None:
        match = _OPTION.fullmatch(line)
        option, value = (match[1], match[2].strip()) if match else (line, "")
        if option in ("-r", "--requirement", "-c", "--constraint"):
            target = _below(chain[-1], value, location)
            self.read_file(target, chain, constraint=constraint or option in ("-c", "--constraint"), named_at=location)
        elif option in ("-e", "--editable"):
            raise _refused(location, "editable installs are not possible; a function's own modules lie in its folder")
        elif option in _INDEX_OPTIONS:
            raise _refused(
                location,
                f"{option} is not taken from an upload; the package index belongs to the server's settings",
                hint="Remove the line; the server's operator sets the index in the server's pip configuration.",
            )
        else:
            raise _refused(location, f"the option {option} is not supported here")

    def _take_requirement(self, location: SourceLocation, line: str, *, constraint: bool) -> None:
        hashes = tuple(match[1] for match in _HASH.finditer(line))
        for value in hashes:
            _check(_HASH_VALUE.fullmatch(value) is not None, f"{value[:80]} is no hash like sha256:...", location)
        text = _HASH.sub("", line).strip()
        _check(
            "--" not in text.split(";")[0].partition("@")[0], "options of one requirement are not supported", location
        )
        _check("${" not in line, "variables are not expanded in an upload", location)
        name, rest = _split(text, location)
        _check_url(rest, location)
        _check_floor(name, rest, self._floor, location)
        into = self.constraints if constraint else self.wanted
        into.append(Requirement(text=text, name=name, hashes=hashes, location=location))
        _check(len(into) <= _REQUIREMENTS, f"more than {_REQUIREMENTS} requirements", location)


def _logical_lines(file: str, data: bytes) -> list[tuple[SourceLocation, str]]:
    """Lines without comments and with continuations joined, each at the line where it begins."""
    if len(data) > _FILE_BYTES:
        raise InvalidRequirements(f"{file}: more than 1 MiB", location=SourceLocation(file=file))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidRequirements(f"{file}:{line}: not UTF-8", location=SourceLocation(file=file, line=line)) from error
    found: list[tuple[SourceLocation, str]] = []
    pending, began = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        began = began or number
        comment = raw.lstrip().startswith("#")
        pending += "" if comment else raw
        if not comment and pending.endswith("\\") and number < len(text.splitlines()):
            pending = pending[:-1] + " "
            continue
        whole = _COMMENT.sub("", pending.removesuffix("\\")).strip()
        if whole:
            _check("\0" not in whole, "a zero byte", SourceLocation(file=file, line=began))
            found.append((SourceLocation(file=file, line=began, source=whole[:200]), whole))
        pending, began = "", 0
    return found


def _split(text: str, location: SourceLocation) -> tuple[str, str]:
    """Name and the rest: version, URL, marker."""
    if _VCS.match(text):
        raise _refused(location, "a version control system cannot be checked by hash; name a release instead")
    if re.match(r"https?://", text, re.IGNORECASE):
        raise _refused(location, "an address needs its package's name before it: `NAME @ https://...`")
    if _PATH.match(text.split(";")[0].strip()) and "@" not in text:
        raise _refused(
            location, "a path on the server cannot be installed; put your own modules into the handler's folder"
        )
    match = _NAME.fullmatch(text)
    if match is None or (match[2] and match[2][0] not in "=<>!~@;("):
        raise _refused(location, f"{text[:120]!r} is no requirement; write it as NAME==VERSION")
    return normalised(match[1]), match[2]


def _check_url(rest: str, location: SourceLocation) -> None:
    if not rest.startswith("@"):
        return
    url = rest[1:].strip()
    _check(not _VCS.match(url), "a version control system cannot be checked by hash; name a release instead", location)
    _check(not url.lower().startswith("http:"), "packages come over https, not http", location)
    _check(
        url.lower().startswith("https://"), "only https addresses can be installed, no paths of the server", location
    )


def _check_floor(name: str, rest: str, floor: Mapping[str, str], location: SourceLocation) -> None:
    """A version of a package that the runtime itself needs must be one that it can work with."""
    if name not in floor or rest.startswith("@"):
        return
    least = release(floor[name])
    for operator, version, star in _CLAUSE.findall(rest.split(";")[0]):
        parts = release(version)
        if operator == "~=" or star:  # up to the next version of what is fixed
            fixed = [int(number) for number in version.split(".")]
            fixed = fixed if star else fixed[:-1]
            below = bool(fixed) and (*fixed[:-1], fixed[-1] + 1) <= least
        else:
            below = parts <= least if operator == "<" else parts < least
        if below:
            raise below_floor(name, f"{operator}{version}{star}", floor[name], location)


def below_floor(name: str, version: str, floor: str, location: SourceLocation | None) -> InvalidRequirements:
    where = "" if location is None else f"{location.file}:{location.line}: "
    return InvalidRequirements(
        f"{where}{name} {version} is too old; the runtime in every replica needs {name} {floor} or later",
        slug="requirement-conflict",
        location=location,
        hint=f"Ask for {name}>={floor}, or leave {name} out; the runtime brings its own.",
    )


def _below(file: str, target: str, location: SourceLocation) -> str:
    """The included file's path in the folder."""
    _check(bool(target), "the file's name is missing", location)
    _check("://" not in target and not target.startswith(("/", "~")), f"{target} is not a file of the folder", location)
    parts: list[str] = []
    for part in (*PurePosixPath(file).parent.parts, *PurePosixPath(target).parts):
        if part == "..":
            _check(bool(parts), f"{target} lies outside of the handler's folder", location)
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _check(holds: bool, why: str, location: SourceLocation) -> None:
    if not holds:
        raise _refused(location, why)


def _refused(location: SourceLocation, why: str, hint: str | None = None) -> InvalidRequirements:
    where = location.file if location.line is None else f"{location.file}:{location.line}"
    return InvalidRequirements(f"{where}: {why}", location=location, hint=hint)
