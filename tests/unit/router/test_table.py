"""Addresses, snapshots and changes."""

from pilotlight.core.spec import FunctionKey
from pilotlight.link.messages import Change, Route, Snapshot
from pilotlight.router.admission import Function
from pilotlight.router.balancer import Backend
from pilotlight.router.table import Table


class Deaf:
    """Hears nothing (admission.Watch)."""

    def touched(self, function: Function) -> None: ...
    def waiting(self, function: Function) -> None: ...
    def drained(self, backend: Backend) -> None: ...


def table(*names: str) -> Table:
    made = Table(watch=Deaf(), hold_seconds=1.0, buffer_bytes=1)
    made.replace(Snapshot(version=1, routes=tuple(Route(function=FunctionKey(name)) for name in names)))
    return made


def test_a_name_without_a_namespace_means_the_default_one() -> None:
    routes = table("f.openfaas-fn", "g.dev")
    assert routes.find(b"f") is routes.find(b"f.openfaas-fn")
    assert routes.find(b"f") is not None
    assert routes.find(b"g") is None
    assert routes.find(b"g.dev") is not None


def test_nothing_is_known_before_the_first_snapshot() -> None:
    assert not Table(watch=Deaf(), hold_seconds=1.0, buffer_bytes=1).ready


def test_what_stays_in_a_snapshot_is_the_same_object() -> None:
    routes = table("f.openfaas-fn", "g.openfaas-fn")
    before = routes.find(b"f")
    routes.replace(Snapshot(version=9, routes=(Route(function=FunctionKey("f.openfaas-fn"), queue=5),)))
    assert routes.find(b"f") is before
    assert (len(routes), routes.version, routes.find(b"g")) == (1, 9, None)


def test_a_change_adds_and_removes() -> None:
    routes = table("f.openfaas-fn")
    routes.change(
        Change(version=2, routes=(Route(function=FunctionKey("g.dev")),), removed=(FunctionKey("f.openfaas-fn"),))
    )
    assert (routes.find(b"f"), routes.version) == (None, 2)
    assert [function.key for function in routes] == ["g.dev"]


def test_a_change_applied_twice_is_applied_once() -> None:
    routes = table()
    change = Change(version=2, routes=(Route(function=FunctionKey("g.dev")),), removed=(FunctionKey("f.dev"),))
    routes.change(change)
    routes.change(change)
    assert len(routes) == 1


def test_a_name_nobody_has_is_answered_with_names_like_it() -> None:
    assert "`resize`" in table("resize.openfaas-fn", "other.openfaas-fn").not_found(b"resise").hint
    assert "Did you mean" not in table("f.openfaas-fn").not_found(b"x" * 5000).hint
