"""A tar becomes a bundle and an environment: whole or not at all, once, and readable to the functions' user."""

import asyncio
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import psutil
import pytest

from pilotlight.builder.base import Choices
from pilotlight.builder.files import remove
from pilotlight.config import BuildSettings, Sandbox
from pilotlight.core.errors import (
    BundleNotFound,
    InvalidRequirements,
    InvalidSource,
    PilotlightError,
    RevisionFailed,
    Unavailable,
)
from tests.integration.builder.conftest import HANDLER, Make, Workshop, source_distribution


def imported(workshop: Workshop, bundle_environment: str, code: str) -> str:
    python = workshop.builder.environment_dir(bundle_environment) / "venv/bin/python"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


async def test_a_handler_becomes_a_bundle_that_its_digest_finds(workshop: Workshop) -> None:
    bundle = await workshop.build({"handler.py": HANDLER, "data/words.txt": "a b"})
    assert workshop.builder.bundle(bundle.digest) == bundle
    folder = workshop.builder.bundle_dir(bundle.digest) / "function"
    assert (folder / "data/words.txt").read_text() == "a b"
    assert [path.name for path in (folder / "__pycache__").iterdir()] == ["handler.cpython-311.pyc"]
    assert workshop.leftovers() == []


async def test_the_byte_code_is_used_whatever_the_sources_time_is(workshop: Workshop) -> None:
    bundle = await workshop.build()
    folder = workshop.builder.bundle_dir(bundle.digest) / "function"
    os.utime(folder / "handler.py", (1, 1))
    (folder / "handler.py").write_text("raise SystemExit")
    python = workshop.builder.environment_dir(bundle.environment) / "venv/bin/python"
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import handler; print(handler.handle(0, 0))"
    assert subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout == "hello\n"


async def test_building_the_same_again_changes_nothing_and_starts_nothing(workshop: Workshop) -> None:
    first = await workshop.build(requirements="greet\n")
    before = workshop.builder.bundle_dir(first.digest).stat()
    workshop.said.clear()
    assert await workshop.build(requirements="greet\n") == first
    assert workshop.builder.bundle_dir(first.digest).stat() == before
    assert [line.step for line in workshop.said] == ["source", "bundle"]


async def test_functions_without_requirements_share_one_environment(workshop: Workshop) -> None:
    one = await workshop.build()
    two = await workshop.build({"handler.py": HANDLER + "# other\n", "requirements.txt": "# nothing\n"})
    assert one.environment == two.environment
    assert one.digest != two.digest


async def test_requirements_are_resolved_and_installed_with_their_hashes(workshop: Workshop) -> None:
    bundle = await workshop.build(requirements="polite\n")
    assert imported(workshop, bundle.environment, "import polite, greet; print(greet.version)") == "1.0"
    manifest = json.loads((workshop.builder.environment_dir(bundle.environment) / "manifest.json").read_text())
    assert manifest["packages"] == {"greet": "1.0", "polite": "1.0"}
    assert manifest["created_at"] > 0


async def test_different_words_for_the_same_packages_share_an_environment(workshop: Workshop) -> None:
    one = await workshop.build(requirements="greet==2.0\n")
    two = await workshop.build({"handler.py": HANDLER, "requirements.txt": "-r more.txt", "more.txt": "greet>1\n"})
    assert one.environment == two.environment


async def test_what_was_resolved_before_needs_no_index(workshop: Workshop, links: Path) -> None:
    await workshop.build(requirements="greet\n")
    for path in links.iterdir():
        path.unlink()
    bundle = await workshop.build({"handler.py": HANDLER + "# changed\n"}, requirements="greet\n")
    assert imported(workshop, bundle.environment, "import greet") == ""
    assert any("as resolved before" in line.message for line in workshop.said)


async def test_a_lock_whose_files_were_withdrawn_is_resolved_again(workshop: Workshop, links: Path) -> None:
    first = await workshop.build(requirements="greet\n")
    shutil.rmtree(workshop.builder.environment_dir(first.environment))
    for path in (workshop.data_dir / "cache/uv").iterdir():
        remove(path)
    (links / "greet-2.0-py3-none-any.whl").unlink()
    second = await workshop.build(requirements="greet\n")
    assert imported(workshop, second.environment, "import greet; print(greet.version)") == "1.0"


async def test_two_builds_of_one_environment_at_once_make_it_once(workshop: Workshop) -> None:
    files = {"handler.py": HANDLER, "requirements.txt": "greet\n"}
    one, two = await asyncio.gather(workshop.build(files), workshop.build(files))
    assert one == two
    assert sum(line.message.startswith("making") for line in workshop.said) == 1


async def test_two_servers_on_one_directory_do_not_harm_each_other(make_workshop: Make) -> None:
    shops = [await make_workshop() for _ in range(3)]
    files = {"handler.py": HANDLER, "requirements.txt": "greet\n"}
    bundles = await asyncio.gather(*(shop.build(files) for shop in shops))
    assert len({bundle.digest for bundle in bundles}) == 1
    assert shops[0].leftovers() == []


async def test_nothing_that_is_kept_is_writable_by_the_functions_user(workshop: Workshop, sandbox: Sandbox) -> None:
    bundle = await workshop.build(requirements="greet\n")
    for place in (workshop.builder.environment_dir(bundle.environment), workshop.builder.bundle_dir(bundle.digest)):
        found = [path.lstat() for path in (place, *place.rglob("*"))]
        assert {each.st_uid for each in found} == {os.getuid()}
        assert not any(each.st_mode & 0o022 for each in found if not stat.S_ISLNK(each.st_mode))
    assert sandbox.uid != 0


@pytest.mark.parametrize(
    ("files", "slug", "where"),
    [
        ({"handler.py": "x = 1\ndef handle(:\n"}, "handler-syntax", ("handler.py", 2)),
        ({"handler.py": HANDLER, "lib/b.py": "print 'x'\n"}, "handler-syntax", ("lib/b.py", 1)),
        ({"handler.py": "x = '\0'\n"}, "handler-syntax", ("handler.py", None)),
        ({"handler.py": "(" * 5000 + ")" * 5000}, "handler-syntax", ("handler.py", 1)),
        ({"handler.py": "x = " + "-" * 200_000 + "1"}, "handler-syntax", ("handler.py", None)),
    ],
)
async def test_source_that_is_no_python_is_refused_with_its_place(
    workshop: Workshop, files: dict[str, str], slug: str, where: tuple[str, int | None]
) -> None:
    with pytest.raises(RevisionFailed) as caught:
        await workshop.build(files)
    location = caught.value.location
    assert location
    assert (caught.value.slug, (location.file, location.line)) == (slug, where)
    assert workshop.leftovers() == []


async def test_a_syntax_error_shows_the_line(workshop: Workshop) -> None:
    with pytest.raises(
        RevisionFailed, match=r"handler\.py:1: not valid Python 3\.\d+: '\(' was never closed"
    ) as caught:
        await workshop.build(source="print(1\n")
    assert caught.value.location
    assert (caught.value.location.column, caught.value.location.source) == (6, "print(1")


async def test_a_missing_handler_names_what_is_there(workshop: Workshop) -> None:
    with pytest.raises(RevisionFailed, match=r"there is no handler\.py in the folder; there are: main\.py") as caught:
        await workshop.build({"main.py": HANDLER})
    assert caught.value.slug == "handler-missing"


async def test_a_handler_may_be_a_package_of_another_name(workshop: Workshop) -> None:
    bundle = await workshop.build({"app/__init__.py": HANDLER}, handler="app")
    assert bundle.handler == "app"


@pytest.mark.parametrize(
    ("requirements", "slug", "line", "words"),
    [
        ("greet\n\nabsent==1\n", "requirement-not-found", 3, "no package is called `absent`"),
        ("greet==9\n", "requirement-no-version", 1, "`greet` has no such version"),
        ("polite\ngreet==2.0\n", "requirement-conflict", 1, "contradict"),
        ("trouble\n", "requirement-build-failed", 1, "the frobnicator is missing"),
        ("greet==\n", "invalid-requirements", 1, "expected version"),
        ("greet==1.0 --hash=sha256:" + "0" * 64, "requirement-conflict", 1, "hashes"),
        ("uvloop==0.17.0\n", "requirement-conflict", 1, "the runtime in every replica needs uvloop 0.21"),
    ],
)
async def test_a_requirement_that_fails_names_its_line_and_uvs_reason(
    workshop: Workshop, requirements: str, slug: str, line: int, words: str
) -> None:
    with pytest.raises(InvalidRequirements) as caught:
        await workshop.build(requirements=requirements)
    assert caught.value.location
    assert (caught.value.slug, caught.value.location.line) == (slug, line)
    assert words in caught.value.detail
    assert len(caught.value.detail.splitlines()) <= 9
    assert workshop.leftovers() == []


async def test_a_refused_archive_leaves_nothing(workshop: Workshop) -> None:
    with pytest.raises(InvalidSource):
        await workshop.build({"../handler.py": HANDLER})
    assert workshop.leftovers() == []


async def test_a_cancelled_build_leaves_nothing_and_the_next_one_works(workshop: Workshop) -> None:
    making = asyncio.Event()
    task = asyncio.create_task(
        workshop.builder.build(
            name="hello",
            template="python3-http",
            tar=workshop.tar({"handler.py": HANDLER, "requirements.txt": "greet\n"}),
            progress=lambda line: making.set() if line.message.startswith("making") else None,
        )
    )
    await making.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert workshop.leftovers() == []
    assert (await workshop.build(requirements="greet\n")).environment


@pytest.mark.parametrize("digest", ["0" * 64, "../../etc", ""])
def test_an_unknown_digest_is_not_found(workshop: Workshop, digest: str) -> None:
    with pytest.raises(BundleNotFound):
        workshop.builder.bundle(digest)


async def test_a_bundle_without_its_environment_is_built_again(workshop: Workshop) -> None:
    bundle = await workshop.build()
    shutil.rmtree(workshop.builder.environment_dir(bundle.environment))
    with pytest.raises(BundleNotFound):
        workshop.builder.bundle(bundle.digest)
    assert await workshop.build() == bundle


async def test_a_build_that_takes_too_long_says_so(make_workshop: Make) -> None:
    workshop = await make_workshop(settings=BuildSettings(timeout_seconds=0.001))
    with pytest.raises(Unavailable, match=r"could not be resolved and installed within 0\.001 seconds"):
        await workshop.build(requirements="greet\n")
    assert workshop.leftovers() == []


async def test_what_a_build_leaves_running_ends_with_it(workshop: Workshop, links: Path) -> None:
    """A package's build backend that makes a process of its own session, out of the group that is killed."""
    escapes = (
        "import subprocess\nnull = subprocess.DEVNULL\n"
        "subprocess.Popen(['sleep', '984'], start_new_session=True, stdin=null, stdout=null, stderr=null)\n"
        "raise SystemExit('left')\n"
    )
    source_distribution(links, "escapes", escapes)
    with pytest.raises(InvalidRequirements):
        await workshop.build(requirements="escapes\n")
    async with asyncio.timeout(5):  # a killed process takes a moment to be gone
        while any(process.info["cmdline"] == ["sleep", "984"] for process in psutil.process_iter(["cmdline"])):
            await asyncio.sleep(0.01)


async def test_progress_lines_come_in_order_of_time(workshop: Workshop) -> None:
    await workshop.build(requirements="greet\n")
    steps = [line.step for line in workshop.said]
    assert list(dict.fromkeys(steps)) == ["source", "requirements", "environment", "bundle"]
    assert [line.seconds for line in workshop.said] == sorted(line.seconds for line in workshop.said)


async def test_an_unknown_template_is_the_users_error(workshop: Workshop) -> None:
    with pytest.raises(PilotlightError, match="there is no template called 'cobol'"):
        await workshop.builder.build(
            name="hello", template="cobol", tar=workshop.tar({"handler.py": ""}), progress=workshop.said.append
        )


async def test_what_is_for_images_alone_is_told_to_be_unused(workshop: Workshop) -> None:
    await workshop.builder.build(
        name="hello",
        template="python3-http",
        tar=workshop.tar({"handler.py": HANDLER}),
        choices=Choices(options=("dev",), arguments={"A": "1"}, secrets={"x": b"1"}),
        progress=workshop.said.append,
    )
    said = workshop.said[0].message
    assert said == "build_options, build_args, build_secrets: for container images, not used by this server"


async def test_a_template_may_come_with_its_function(workshop: Workshop) -> None:
    files = {
        "template/template.yml": "language: mine\ncontract: lambda\nhandlers: [index]\n",
        "handler/index.py": "def handler(event, context):\n    return {}\n",
    }
    choices = Choices(uploaded_template=True)
    bundle = await workshop.builder.build(
        name="hello", template="mine", tar=workshop.tar(files), choices=choices, progress=workshop.said.append
    )
    assert (bundle.template, bundle.contract, bundle.handler) == ("mine", "lambda", "index")
    function = workshop.builder.bundle_dir(bundle.digest) / "function"
    assert [path.name for path in function.iterdir() if path.is_file()] == ["index.py"]
    assert workshop.leftovers() == []
