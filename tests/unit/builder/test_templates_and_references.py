"""Names that builds are asked for by: templates, and references to bundles."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.builder.reference import parse_reference, reference
from pilotlight.builder.template import load_template, uploaded_template
from pilotlight.core.errors import InvalidInput

TEMPLATES = Path(__file__).parents[3] / "templates"
DIGEST = "0123456789abcdef" * 4


def template(folder: Path, text: str) -> Path:
    (folder / "mine").mkdir()
    (folder / "mine/template.yml").write_text(text)
    return folder


def test_the_packaged_template_speaks_http_and_primes() -> None:
    found = load_template(TEMPLATES, "python3-http")
    assert (found.contract, found.requirements) == ("http", ())
    assert found.prime is not None


@pytest.mark.parametrize("name", ["python3-htp", "../templates/python3-http", "", "x" * 300])
def test_an_unknown_template_names_those_there_are(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_template(TEMPLATES, name)
    assert caught.value.slug == "template-not-found"
    assert "python3-http" in (caught.value.hint or "")


def test_openfaas_keys_are_known(tmp_path: Path) -> None:
    text = (
        "language: mine\nfprocess: python index.py\nbuild_options:\n- name: dev\n  packages: [make]\nmount_ssh: true\n"
    )
    found = load_template(template(tmp_path, text), "mine")
    assert (found.contract, found.handler_folder, found.packages(["dev"])) == (None, "function", ("make",))


@pytest.mark.parametrize(
    "text",
    [
        "language: [", "- a", "contract: http\nprim: x", "prime: ../x", "prime: gone.py", "contract: smoke",
        "handler_folder: ../x", "handler_folder: /x", "handler_folder: .",
    ],
)  # fmt: skip
def test_a_template_that_is_wrong_says_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match="template mine: "):
        load_template(template(tmp_path, text), "mine")


def test_keys_that_are_for_others_are_left_to_them(tmp_path: Path) -> None:
    found = load_template(template(tmp_path, "language: x\nprim: 1\ntoolchain: {a: b}\nhandler_folder: ./a/b/"), "mine")
    assert (found.contract, found.handler_folder) == (None, "a/b")


def test_a_build_option_that_a_template_lacks_is_named_with_those_there_are(tmp_path: Path) -> None:
    text = "build_options:\n- {name: dev, packages: [make, gcc]}\n- {name: xml, packages: [libxml2, gcc]}\n"
    found = load_template(template(tmp_path, text), "mine")
    assert found.packages(["xml", "dev"]) == ("libxml2", "gcc", "make")
    with pytest.raises(InvalidInput) as caught:
        found.packages(["dve"])
    assert (caught.value.slug, caught.value.hint) == (
        "invalid-build-option",
        "Did you mean `dev`? It has: dev, xml.",
    )


def test_an_uploaded_template_may_be_like_one_of_the_servers(tmp_path: Path) -> None:
    template(tmp_path, "like: python3-http\ncontract: http")
    found = uploaded_template(tmp_path / "mine", "mine", TEMPLATES)
    assert found.prime == load_template(TEMPLATES, "python3-http").prime
    (tmp_path / "mine/template.yml").unlink()
    with pytest.raises(InvalidInput, match=r"no template\.yml"):
        uploaded_template(tmp_path / "mine", "mine", TEMPLATES)


def test_a_reference_is_read_as_it_was_written() -> None:
    assert parse_reference(reference("my-fn", DIGEST)) == ("my-fn", DIGEST)


@pytest.mark.parametrize(
    "image",
    ["", "nginx:latest", f"bundle/x@sha256:{DIGEST[:-1]}", f"bundle/X@sha256:{DIGEST}", f"bundle/x@sha256:{DIGEST}\n"],
)
def test_anything_else_is_no_reference(image: str) -> None:
    assert parse_reference(image) is None


@given(st.text())
def test_any_text_is_a_reference_or_not(text: str) -> None:
    found = parse_reference(text)
    assert found is None or reference(*found) == text


@pytest.mark.parametrize(
    ("name", "contract", "handlers"),
    [
        ("python3-lambda", "lambda", ("handler", "lambda_function", "app")),
        ("python3-asgi", "asgi", ("handler", "main", "app")),
    ],
)
def test_the_other_templates_share_the_first_ones_prime_script(
    name: str, contract: str, handlers: tuple[str, ...]
) -> None:
    found = load_template(TEMPLATES, name)
    assert (found.contract, found.handlers) == (contract, handlers)
    assert found.prime == load_template(TEMPLATES, "python3-http").prime


def test_a_template_that_is_like_another_takes_what_it_does_not_give(tmp_path: Path) -> None:
    for name, text in (
        ("base", "language: base\nrequirements: [six]\npreimport: [csv]\n"),
        ("mine", "language: mine\nlike: base\npreimport: [cgi]\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "template.yml").write_text(text)
    found = load_template(tmp_path, "mine")
    assert (found.requirements, found.preimport) == (("six",), ("cgi",))
    before = found.digest
    (tmp_path / "base/template.yml").write_text("language: base\nrequirements: [six, idna]\n")
    assert load_template(tmp_path, "mine").digest != before


def test_a_template_that_is_like_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no template called 'gone'"):
        load_template(template(tmp_path, "language: mine\nlike: gone\n"), "mine")
