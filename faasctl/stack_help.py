"""All keys of a stack file, printed from the schema that checks them."""

from collections.abc import Iterator

from faasctl.stack_schema import STACK, WITHOUT_EFFECT, MapOf, Section, Shape


def stack_lines() -> Iterator[str]:
    """YAML with a remark for each key: what it expects."""
    yield from _lines(STACK, 0)


def _lines(shape: Shape, depth: int) -> Iterator[str]:
    entries: dict[str, Shape] = {}
    if isinstance(shape, Section):
        entries = dict(shape.keys)
    elif isinstance(shape, MapOf):
        entries = {"NAME": shape.value}
    for name, inner in entries.items():
        head = f"{'  ' * depth}{name}:"
        if isinstance(inner, Section) or (isinstance(inner, MapOf) and isinstance(inner.value, Section)):
            yield head
            yield from _lines(inner, depth + 1)
        else:
            remark = f"taken, without effect: {WITHOUT_EFFECT[name]}" if name in WITHOUT_EFFECT else inner.expects
            yield f"{head:<32} # {remark}"
