"""What images really take: each piece of a chain of layers once, and nothing that stays because of others."""

from hypothesis import given
from hypothesis import strategies as st

from pilotlight.builder.image_sizes import Image, beginnings, leftovers, own_bytes


def image(name: str, *layers: int, names: str = "", parent: str = "") -> Image:
    """Layers are called by their sizes."""
    tags = frozenset(names.split())
    return Image(id=name, names=tags, bytes=sum(layers), layers=tuple(map(str, layers)), parent=parent)


BASE = image("base", 370, names="python:3")
ENVIRONMENT = image("env", 370, 30, names="pilotlight/environment:1")
HELLO = image("hello", 370, 30, 1, names="pilotlight/hello:1")
OTHER = image("other", 370, 30, 2, names="pilotlight/other:1")
OURS = {"env", "hello", "other"}


def test_what_others_have_counts_for_nothing_and_what_is_shared_once() -> None:
    assert own_bytes([BASE, HELLO, OTHER, ENVIRONMENT], OURS) == {"env": 30, "hello": 1, "other": 2}


def test_without_the_image_that_they_begin_with_the_shared_piece_is_one_of_theirs() -> None:
    nameless = image("layer", 370, 30)
    assert own_bytes([BASE, HELLO, OTHER, nameless], {"hello", "other"}) == {"hello": 31, "other": 2}


def test_a_base_that_nobody_has_is_ours_to_pay_for() -> None:
    assert own_bytes([ENVIRONMENT, HELLO], {"env", "hello"}) == {"env": 400, "hello": 1}


def test_an_image_without_layers_takes_nothing() -> None:
    assert own_bytes([image("empty", names="pilotlight/empty:1")], {"empty"}) == {"empty": 0}


def test_an_image_begins_with_the_longest_of_ours() -> None:
    assert beginnings([BASE, ENVIRONMENT, HELLO, OTHER], OURS) == {"hello": "env", "other": "env"}


def test_what_a_failed_build_left_upon_ours_is_a_leftover_and_what_others_left_is_not() -> None:
    step = image("step", 370, 30, 5, parent="env")
    last = image("last", 370, 30, 5, 1, parent="step")
    foreign = image("foreign", 370, 9, parent="base")
    assert leftovers([BASE, ENVIRONMENT, step, last, foreign], {"env"}) == {"last"}


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[Image], set[str], dict[str, tuple[str, ...]]]:
    """Images of which each is built on an earlier one; some are ours, some somebody's, some nameless steps."""
    made: list[Image] = []
    ours: set[str] = set()
    for number in range(draw(st.integers(1, 10))):
        below = draw(st.sampled_from([None, *made]))
        size = draw(st.integers(0, 9))
        layers = (*(below.layers if below else ()), f"{number}")
        kind = draw(st.sampled_from(["ours", "theirs", "step"]))
        names = frozenset() if kind == "step" else frozenset({f"{kind}:{number}"})
        total = size + (below.bytes if below else 0)
        made.append(Image(id=f"i{number}", names=names, bytes=total, layers=layers))
        ours |= {f"i{number}"} if kind == "ours" else set()
    return draw(st.permutations(made)), ours, {each.id: each.layers for each in made}


@given(trees())
def test_together_they_are_what_would_be_free_without_them(
    drawn: tuple[list[Image], set[str], dict[str, tuple[str, ...]]],
) -> None:
    images, ours, layers = drawn
    by_id = {each.id: each for each in images}
    size_of = {  # of each layer alone, which is the last of the image with its number
        number: by_id[f"i{number}"].bytes - (by_id[f"i{chain[-2]}"].bytes if len(chain) > 1 else 0)
        for chain in layers.values()
        for number in chain[-1:]
    }
    theirs = {layer for each in images if each.names and each.id not in ours for layer in each.layers}
    free = {layer for one in ours for layer in layers[one]} - theirs
    found = own_bytes(images, ours)
    assert sum(found.values()) == sum(size_of[layer] for layer in free)
    assert found.keys() == ours
