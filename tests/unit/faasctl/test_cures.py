"""Help that names the user's own files, where the server can only name kinds of files."""

from pathlib import Path

import pytest

from faasctl.cures import cured
from faasctl.errors import Place, Problem
from faasctl.stack import Function


def function(folder: Path | None, lang: str = "python3-http", image: str | None = None) -> Function:
    return Function(name="shop", lang=lang, handler=folder, image=image, spec={"name": "shop"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "Dockerfile").write_text("RUN true\n")
    return tmp_path / "shop"


def help_of(slug: str, detail: str, of: Function, *, hint: str = "the server's") -> str:
    return " ".join(cured(Problem(slug=slug, detail=detail, help=(hint,)), of).help)


@pytest.mark.parametrize(
    ("module", "package"),
    [("lodash", "lodash"), ("lodash/fp", "lodash"), ("@scope/one", "@scope/one"), ("@scope/one/two", "@scope/one")],
)
def test_a_package_of_javascript_belongs_into_package_json(folder: Path, module: str, package: str) -> None:
    said = help_of("import-failed", f"shop: Error: Cannot find module '{module}'", function(folder, "node"))
    assert f'Add "{package}" to `dependencies` in shop/package.json' in said


def test_a_file_of_javascript_that_is_missing_is_no_package(folder: Path) -> None:
    said = help_of("import-failed", "Error: Cannot find module './lib/x'", function(folder, "node"))
    assert said.startswith("There is no such file in shop;")


def test_a_module_beside_the_folder_is_given_along(folder: Path) -> None:
    (folder.parent / "common.py").touch()
    detail = "ModuleNotFoundError: No module named 'common'"
    assert "`configuration: copy: [./common.py]`" in help_of("import-failed", detail, function(folder))


def test_what_the_server_advises_stays_where_nothing_better_is_known(folder: Path) -> None:
    assert help_of("import-failed", "No module named 'numpyy'", function(folder)) == "the server's"
    assert help_of("crashed-at-start", "exited with code 0", function(folder)) == "the server's"


def test_a_container_whose_program_ends_well_has_no_server(folder: Path) -> None:
    said = help_of("crashed-at-start", "shop: exited with code 0", function(folder, "dockerfile"))
    assert "CMD in shop/Dockerfile must start a server that stays, on port 8080" in said
    ready_made = help_of("crashed-at-start", "shop: exited with code 0", function(None, "", "debian:12"))
    assert "`docker run --rm debian:12`" in ready_made


def test_a_container_that_ends_badly_keeps_its_last_words(folder: Path) -> None:
    assert help_of("crashed-at-start", "exited with code 1", function(folder, "dockerfile")) == "the server's"


def test_of_a_function_that_was_never_live_no_log_is_named(folder: Path) -> None:
    never = "nothing was deployed; no revision of it serves"
    problem = Problem(slug="crashed-at-start", detail="exited with code 1", state=never)
    assert "faasctl logs" not in cured(problem, function(folder)).help[0]
    assert "what ended is CMD in shop/Dockerfile" in cured(problem, function(folder, "dockerfile")).help[0]


def test_a_dockerfile_without_from_is_named(folder: Path) -> None:
    problem = Problem(slug="image-build-failed", detail="no build stage in current context")
    better = cured(problem, function(folder, "dockerfile"))
    assert better.place == Place(file="shop/Dockerfile")
    assert "begin it as in: FROM debian:bookworm-slim" in better.help[0]


def test_a_command_that_is_not_in_the_image_is_looked_for_in_the_dockerfile(folder: Path) -> None:
    said = help_of("image-not-runnable", "exec slep failed", function(folder, "dockerfile"))
    assert "in shop/Dockerfile" in said


def test_a_network_that_the_engine_lacks_is_the_operators_mistake(folder: Path) -> None:
    said = help_of("image-build-failed", "Dockerfile:2: RUN true: network hots not found", function(folder))
    assert "docker.build_network names hots" in said


NPM_UNKNOWN = (
    "Dockerfile:34: RUN npm: exited with code 1\n npm ERR! 404  'lodahs@1' is not in this registry.\n npm ERR! 404"
)
NPM_VERSION = "RUN npm: exited with code 1\n npm ERR! notarget No matching version found for @a/b@99.1.\n npm ERR!"


@pytest.mark.parametrize(
    ("detail", "text", "said", "line"),
    [
        (NPM_UNKNOWN, '{"dependencies": {\n  "lodahs": "1"\n}}', "npm's registry has no package `lodahs`", 2),
        (NPM_UNKNOWN, "{}", "npm's registry has no package `lodahs`", None),
        (NPM_VERSION, '{"dependencies": {"@a/b": "99.1"}}', "npm's registry has no version 99.1 of `@a/b`", 1),
        ("Error parsing /tmp/package.json", '{\n"a": 1,\n}', "package.json is not valid JSON", 3),
        ("Error parsing /tmp/package.json", "", "package.json is not valid JSON", 1),
    ],
)
def test_what_npm_says_is_one_sentence_and_a_line(folder: Path, detail: str, text: str, said: str, line: int) -> None:
    (folder / "package.json").write_text(text)
    problem = Problem(slug="image-build-failed", detail=detail, place=Place(file="node's Dockerfile", line=34))
    better = cured(problem, function(folder, "node"))
    assert better.detail.startswith(f"shop: {said}")
    assert better.place is not None
    assert (better.place.file, better.place.line) == ("shop/package.json", line)
    assert better.help == ("Correct it, then: faasctl up",)


def test_a_build_that_npm_has_no_part_in_is_left_as_it_is(folder: Path) -> None:
    (folder / "package.json").write_text("no json")
    problem = Problem(slug="image-build-failed", detail="RUN false: exited with code 1", help=("h",))
    assert cured(problem, function(folder, "node")) == problem


def test_names_to_fill_in_are_filled_in(folder: Path) -> None:
    assert help_of("x", "", function(folder), hint="See: faasctl logs NAME") == "See: faasctl logs shop"
    hint = "Try `docker run --rm --user 10001 IMAGE`; then"
    assert help_of("x", "", function(None, "", "a/b:1"), hint=hint) == "Try `docker run --rm --user 10001 a/b:1`; then"
    assert help_of("x", "", function(folder), hint=hint) == hint
