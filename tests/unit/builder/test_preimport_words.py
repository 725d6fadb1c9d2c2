"""What a build says about the modules that it imports ahead: a line, whatever a library is made of."""

from pilotlight.builder.trial import in_few_words


def test_a_package_is_named_once_for_all_its_modules() -> None:
    assert in_few_words(["pydantic", "pydantic.v1", "pydantic.v1.json", "fastapi"]) == "fastapi, pydantic"


def test_many_packages_are_counted() -> None:
    assert in_few_words([f"package{number}" for number in range(10)]).endswith("package7 and 2 more")


def test_none_is_a_word() -> None:
    assert in_few_words([]) == "nothing"
