"""What `faasctl new` begins a function with: the project's own templates, then those that are installed."""

import shutil
from pathlib import Path

import pytest

from faasctl import templates
from faasctl.errors import CliError
from faasctl.templates import local_template, named, starting_files, templates_of

TEMPLATES = Path(__file__).parents[3] / "templates"
SHIPPED = sorted(path.parent.name for path in TEMPLATES.glob("*/template.yml"))


def own(project: Path, name: str, text: str = "", **files: str) -> Path:
    folder = project / "template" / name
    for path, content in {"template.yml": text, "Dockerfile": "FROM scratch\n", **files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder


@pytest.mark.parametrize("lang", [name for name in SHIPPED if name.startswith("python3")])
def test_each_python_template_brings_a_handler_its_test_and_requirements(lang: str, tmp_path: Path) -> None:
    files = starting_files(named(tmp_path, lang))
    assert list(files) == ["handler.py", "handler_test.py", "requirements.txt"]
    assert files["handler.py"] == TEMPLATES / lang / "function/handler.py"


@pytest.mark.parametrize(
    ("lang", "files", "runs_as"),
    [
        ("node", ["handler.js", "handler_test.js", "package.json"], "image"),
        ("bash", ["handler.sh"], "image"),
        ("dockerfile", ["Dockerfile"], "image"),
        ("python3-asgi", ["handler.py", "handler_test.py", "requirements.txt"], "process, image"),
    ],
)
def test_every_template_says_what_it_begins_with_and_what_runs_it(
    lang: str, files: list[str], runs_as: str, tmp_path: Path
) -> None:
    template = named(tmp_path, lang)
    assert list(starting_files(template)) == files
    assert template.runs_as == runs_as
    assert template.about.startswith(("A function in", "An ASGI", "Anything"))


def test_every_template_is_offered(tmp_path: Path) -> None:
    assert list(templates_of(tmp_path)) == SHIPPED


def test_in_an_installation_they_lie_beside_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site-packages"
    shutil.copytree(TEMPLATES / "python3-asgi", installed / "pilotlight/_templates/python3-asgi")
    monkeypatch.setattr(templates, "__file__", str(installed / "faasctl/templates.py"))
    assert starting_files(named(tmp_path, "python3-asgi"))
    with pytest.raises(CliError) as caught:
        named(tmp_path, "python3-lambda")
    assert caught.value.problems[0].slug == "template-unknown"
    shutil.rmtree(installed / "pilotlight")
    with pytest.raises(CliError) as caught:
        named(tmp_path, "python3-asgi")
    assert caught.value.problems[0].slug == "template-missing"


def test_a_projects_own_template_comes_before_the_installed_one(tmp_path: Path) -> None:
    own(tmp_path, "python3-http", "welcome_message: Ours.\n", **{"function/handler.py": "x = 1\n"})
    found = named(tmp_path, "python3-http")
    assert (found.local, found.about, found.runs_as) == (True, "Ours", "image")
    assert list(starting_files(found)) == ["handler.py"]
    assert local_template(tmp_path, "python3-http") == tmp_path / "template/python3-http"


def test_a_template_names_the_folder_that_functions_begin_with(tmp_path: Path) -> None:
    own(tmp_path, "go", "handler_folder: src/fn\n", **{"src/fn/sub/a.go": "a", "src/fn/a.pyc": "no", "main.go": "m"})
    assert list(starting_files(named(tmp_path, "go"))) == ["sub/a.go"]


def test_a_folder_without_a_template_is_none(tmp_path: Path) -> None:
    (tmp_path / "template" / "notes").mkdir(parents=True)
    assert "notes" not in templates_of(tmp_path)


def test_a_misspelt_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        named(tmp_path, "python3-htp")
    (problem,) = caught.value.problems
    assert "there is no template `python3-htp`; did you mean `python3-http`" in problem.detail
    assert "There are: bash, dockerfile, node, python3-asgi" in problem.help[0]


@pytest.mark.parametrize("text", ["[1]", "a: {", "handler_folder: ../x", "handler_folder: 7", "\tx: 1"])
def test_a_template_yml_that_is_wrong_is_named(text: str, tmp_path: Path) -> None:
    own(tmp_path, "mine", text)
    with pytest.raises(CliError) as caught:
        templates_of(tmp_path)
    assert caught.value.problems[0].slug == "template-wrong"
    assert "template/mine/template.yml is wrong" in caught.value.problems[0].detail


def test_the_context_of_a_dockerfile_function_is_never_a_projects_template(tmp_path: Path) -> None:
    own(tmp_path, "dockerfile")
    assert local_template(tmp_path, "dockerfile") is None
