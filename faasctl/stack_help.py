"""All keys of a stack file, printed from the schema that checks them."""

from collections.abc import Iterator

from faasctl.stack_schema import STACK, WITHOUT_EFFECT, ListOf, MapOf, Section, Shape
from faasctl.variables import FORMS


def stack_lines() -> Iterator[str]:
    """YAML with a remark for each key: what it expects; then the forms of variables."""
    yield from _lines(STACK, 0)
    yield f"{'x-NAME:':<32} # anything: a place for what aliases (*name, <<: *name) stand for"
    yield ""
    yield "Variables of your environment, anywhere in a value:"
    for form, meaning in FORMS:
        yield f"  {form:<40} {meaning}"
    yield "--envsubst=false leaves them as they are."


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
        elif isinstance(inner, ListOf) and isinstance(inner.item, Section):
            keys = ", ".join(inner.item.keys)
            yield f"{head:<32} # {inner.expects}, each with {keys}"
        else:
            remark = f"taken, without effect: {WITHOUT_EFFECT[name]}" if name in WITHOUT_EFFECT else inner.expects
            yield f"{head:<32} # {remark}"
