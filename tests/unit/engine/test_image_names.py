"""Names of images: what they say, what is wrong with them, and the bytes that they are bound to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.core.errors import InvalidInput
from pilotlight.engine.images import ImageName, fixed, parse_image

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "repository", "tagged", "canonical"),
    [
        ("redis", "redis", "redis:latest", "redis:latest"),
        ("redis:7", "redis", "redis:7", "redis:7"),
        ("r.example:5000/a/b", "r.example:5000/a/b", "r.example:5000/a/b:latest", "r.example:5000/a/b:latest"),
        ("r:5000/a:v1.2_3-x", "r:5000/a", "r:5000/a:v1.2_3-x", "r:5000/a:v1.2_3-x"),
        (f"a/b@{DIGEST}", "a/b", "a/b:latest", f"a/b@{DIGEST}"),
        (f"a/b:1@{DIGEST}", "a/b", "a/b:1", f"a/b@{DIGEST}"),
        ("[::1]:5000/a:1", "[::1]:5000/a", "[::1]:5000/a:1", "[::1]:5000/a:1"),
    ],
)
def test_a_name_is_read(text: str, repository: str, tagged: str, canonical: str) -> None:
    name = parse_image(text)
    assert (name.repository, name.tagged, name.canonical) == (repository, tagged, canonical)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("a b", "blank"),
        ("https://r.example/a", "https://"),
        ("Hello", "lower case: hello"),
        ("r.example/Team/hello:A", "lower case: r.example/team/hello:A"),
        ("a//b", "REGISTRY/PATH"),
        ("-a", "REGISTRY/PATH"),
        ("a:", "no tag"),
        ("a:b c", "blank"),
        ("a:" + "x" * 129, "at most 128"),
        ("a@sha256:00", "64 digits"),
        ("a@md5:" + "0" * 32, "64 digits"),
        ("a@id:zz", "64 digits"),
        ("a/" * 150 + "b", "255"),
        ("${IMAGE}", "REGISTRY/PATH"),
    ],
)
def test_a_mistake_is_told(text: str, word: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_image(text)
    assert (error.value.slug, error.value.field) == ("image-name", "image")
    assert word in error.value.detail


WORDS = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8})?", fullmatch=True)


@given(
    st.sampled_from(["", "r.example/", "r:5000/", "localhost/"]),
    st.lists(WORDS, min_size=1, max_size=3),
    st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.sampled_from(["", f"@{DIGEST}", f"@id:{HEX}"]),
)
def test_a_name_is_written_as_it_was_read(host: str, parts: list[str], tag: str | None, at: str) -> None:
    text = host + "/".join(parts) + (f":{tag}" if tag else "") + at
    name = parse_image(text)
    assert parse_image(str(name)) == (name if name.is_fixed else parse_image(name.tagged))
    if name.is_fixed:
        assert str(name) == text


@given(st.text(max_size=30))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        assert isinstance(parse_image(text), ImageName)
    except InvalidInput as error:
        assert error.slug == "image-name"


def test_a_tag_is_bound_to_the_registrys_digest_of_it() -> None:
    inspected = {"Id": "sha256:1", "RepoDigests": ["other/app@sha256:aa", f"r:5000/app@{DIGEST}"]}
    assert str(fixed(parse_image("r:5000/app:1"), inspected)) == f"r:5000/app:1@{DIGEST}"


@pytest.mark.parametrize("known", [f"redis@{DIGEST}", f"docker.io/library/redis@{DIGEST}"])
def test_docker_hubs_short_names_are_the_same(known: str) -> None:
    inspected = {"Id": "sha256:1", "RepoDigests": [known]}
    assert fixed(parse_image("redis:7"), inspected).digest == DIGEST
    assert fixed(parse_image("docker.io/library/redis:7"), inspected).digest == DIGEST


@pytest.mark.parametrize("digests", [None, [], [f"elsewhere/app@{DIGEST}"]])
def test_what_no_registry_knows_is_bound_to_the_engines_own_digest(digests: list[str] | None) -> None:
    name = fixed(parse_image("app:1"), {"Id": DIGEST, "RepoDigests": digests})
    assert (name.id, name.digest, str(name)) == (DIGEST, None, f"app:1@id:{HEX}")
    assert parse_image(str(name)) == name
