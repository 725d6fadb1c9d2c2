"""`registryAuth` of an OpenFaaS deployment: a login for the image's registry, kept as a secret like every other.

It becomes the secret `NAME.dockerconfigjson` in the function's namespace, sealed in the store, and one of its
secrets: so pulls find it at every later start, and the function itself never sees it.
"""

import json
from collections.abc import Mapping

import msgspec

from pilotlight.builder.reference import parse_reference
from pilotlight.control.views import Control, DeployMode
from pilotlight.core.errors import FunctionNotFound, InvalidInput
from pilotlight.core.spec import FunctionSpec
from pilotlight.engine.failures import registry_of
from pilotlight.engine.registry_logins import SECRET, login_of


async def with_login(
    control: Control, spec: FunctionSpec, mode: DeployMode, data: Mapping[str, object]
) -> FunctionSpec:
    """The spec with the secret that holds the login, once it is set. InvalidInput for what is no login; it does not
    repeat it."""
    given = data.get("registryAuth")
    if not given or parse_reference(spec.image) is not None:
        return spec
    if not isinstance(given, str) or login_of(given) is None:
        raise InvalidInput("registryAuth: must be base64 of user:password", field="registryAuth")
    if await _exists(control, spec) == (mode is DeployMode.CREATE):
        return spec  # the deploy will be refused, and should change nothing
    name = f"{spec.name}.{SECRET}"
    config = {"auths": {registry_of(spec.image): {"auth": given}}}
    await control.secrets.set(spec.namespace, name, json.dumps(config).encode())
    if name in spec.secrets:
        return spec
    return msgspec.structs.replace(spec, secrets=(*spec.secrets, name))


async def _exists(control: Control, spec: FunctionSpec) -> bool:
    try:
        await control.function(spec.key)
    except FunctionNotFound:
        return False
    return True
