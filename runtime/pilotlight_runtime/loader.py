"""From a bundle's folder to a handler that can be called.

The function's folder is a package named `function`, and is on `sys.path` too: `import utils`, `from . import utils` and
`from function import utils` all find `utils.py`, as people write it.
"""

import importlib
import importlib.util
import os
import sys
from types import ModuleType

from pilotlight_runtime.contracts import CONTRACTS, Application, Conversation, Identity, contract_named
from pilotlight_runtime.failures import LoadFailed, import_failure

PACKAGE = "function"


def load(bundle: str, handler: str, contract: str, identity: Identity) -> Application | Conversation:
    """Import the handler and bind it to its contract; LoadFailed says why it cannot be."""
    if contract not in CONTRACTS:
        there_are = f"there are {', '.join(CONTRACTS)}"
        raise LoadFailed("load-failed", f"the contract `{contract}` is not known to this runtime; {there_are}")
    folder = os.path.join(bundle, PACKAGE)
    try:
        os.chdir(folder)
    except OSError as error:
        raise LoadFailed("load-failed", f"the function's files cannot be read: {error.strerror}") from error
    sys.path[:0] = [folder, bundle]
    _uncover(folder)
    chosen = contract_named(contract)
    handler = chosen.module_of(handler, identity)
    _check_there(folder, handler)
    return chosen.bind(_import(folder, handler), identity)


def _import(folder: str, handler: str) -> ModuleType:
    try:
        _import_package(folder)
        return importlib.import_module(f"{PACKAGE}.{handler}")
    except BaseException as error:  # a module may raise SystemExit as well
        raise import_failure(error, folder) from error


def _import_package(folder: str) -> None:
    """By hand: a `function.py` in the folder, or a package of this name elsewhere, must not be found instead."""
    init = os.path.join(folder, "__init__.py")
    if not os.path.exists(init):
        package = ModuleType(PACKAGE)
        package.__path__ = [folder]
        sys.modules[PACKAGE] = package
        return
    spec = importlib.util.spec_from_file_location(PACKAGE, init, submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        raise ImportError(f"{init} cannot be loaded")
    package = sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)


def _uncover(folder: str) -> None:
    """Forget what the zygote imported under the name of one of the function's own modules, as `sys.path` would have it.

    The standard library's modules stay: half of it has been using them."""
    for entry in os.listdir(folder):
        name = entry.partition(".")[0]
        if name in sys.modules and name not in sys.stdlib_module_names and name not in _OURS:
            for module in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
                del sys.modules[module]


_OURS = ("pilotlight_runtime", "uvloop", "httptools", "__main__")


def _check_there(folder: str, handler: str) -> None:
    path = os.path.join(folder, *handler.split("."))
    if os.path.exists(f"{path}.py") or os.path.exists(os.path.join(path, "__init__.py")):
        return
    modules = sorted(entry for entry in os.listdir(folder) if entry.endswith(".py") and not entry.startswith("_"))
    there = f"; there is {', '.join(modules)}" if modules else " or any other Python file"
    raise LoadFailed("handler-missing", f"the function's folder has no {handler.replace('.', '/')}.py{there}")
