"""/system/alert: what Prometheus' Alertmanager sends where OpenFaaS scales by its rule.

Pilotlight counts calls itself and needs no alert. Somebody's own alert still does what it does there, for functions
that scale by OpenFaaS' rule: firing adds a step of their maximum, resolved leads back to their minimum (to one, where
that is none: the rest is the autoscaler's to decide).
"""

import math
from collections.abc import Sequence

import msgspec
import structlog
from aiohttp import web

from pilotlight.api.reading import key_of, read_json
from pilotlight.api.work import Work
from pilotlight.control.views import Control, FunctionView
from pilotlight.core.errors import InvalidInput, PilotlightError

log = structlog.get_logger(__name__)


class _Labels(msgspec.Struct, frozen=True, kw_only=True):
    function_name: str = ""
    alertname: str = ""


class _Alert(msgspec.Struct, frozen=True, kw_only=True):
    status: str = ""
    labels: _Labels = _Labels()


class _Alerts(msgspec.Struct, frozen=True, kw_only=True):
    status: str = ""
    receiver: str = ""
    alerts: tuple[_Alert, ...] = ()


class Alerts:
    def __init__(self, control: Control, work: Work) -> None:
        self._control = control
        self._work = work

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/system/alert", self.alert)]

    async def alert(self, request: web.Request) -> web.Response:
        """Each alert is followed, whatever becomes of the others; 500 names those that could not be."""
        failures = []
        for number, alert in enumerate(await _read(request)):
            try:
                await self._follow(alert)
            except PilotlightError as error:
                failures.append(f"[{number}] {error.detail}")
        if failures:
            raise PilotlightError("\n".join(failures))
        return web.Response()

    async def _follow(self, alert: _Alert) -> None:
        view = await self._control.function(key_of(alert.labels.function_name, None))
        replicas = replicas_after(view, firing=alert.status == "firing")
        if replicas is None:
            return
        log.info("alert", function=view.spec.key, status=alert.status, alert=alert.labels.alertname, replicas=replicas)
        await self._work.complete(self._control.scale(view.spec.key, replicas))


def replicas_after(view: FunctionView, *, firing: bool) -> int | None:
    """What an alert asks for; None where nothing changes or the function does not scale by OpenFaaS' rule."""
    scale = view.spec.scale
    if not scale.factor or scale.min == scale.max:
        return None
    step = math.ceil(scale.max * scale.factor / 100)
    wanted = min(scale.max, view.wanted + step) if firing else max(1, scale.min)
    return None if wanted == view.wanted else wanted


async def _read(request: web.Request) -> Sequence[_Alert]:
    try:
        return msgspec.convert(await read_json(request), _Alerts).alerts
    except (InvalidInput, msgspec.ValidationError) as error:
        raise InvalidInput("Unable to parse alert, bad format.") from error
