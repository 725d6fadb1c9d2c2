"""Where an image's packages come from: the server's own settings, as its builds take them. Pure.

An address with a password goes as a build secret: arguments are written into an image's history.
"""

from collections.abc import Mapping

from pilotlight.builder.index import IndexSettings, redacted

PIP_SECRET = "pip.conf"  # noqa: S105 (its name)
"""The id of the secret; its file is in pip's own form."""
_INDEXES = {"PIP_INDEX_URL": "index-url", "PIP_EXTRA_INDEX_URL": "extra-index-url"}


def index_arguments(index: IndexSettings) -> dict[str, str]:
    """As pip and others know it from variables, without what is for `index_secret`."""
    variables = index.variables
    found = {
        "PIP_TRUSTED_HOST": variables.get("UV_INSECURE_HOST", ""),
        "http_proxy": variables.get("HTTP_PROXY", ""),
        "https_proxy": variables.get("HTTPS_PROXY", ""),
        "no_proxy": variables.get("NO_PROXY", ""),
    }
    if index_secret(index) is None:
        found |= _indexes(index)
    return {name: value for name, value in found.items() if value}


def index_secret(index: IndexSettings) -> bytes | None:
    """A configuration for pip with the indexes, where one of them has a password in its address."""
    indexes = _indexes(index)
    if all(address == redacted(address) for address in indexes.values()):
        return None
    lines = [f"{option} = {indexes[name]}" for name, option in _INDEXES.items() if indexes[name]]
    return "\n".join(["[global]", *lines, ""]).encode()


def _indexes(index: IndexSettings) -> Mapping[str, str]:
    """No container sees our disk."""
    variables = index.variables
    given = {
        "PIP_INDEX_URL": variables.get("UV_DEFAULT_INDEX", ""),
        "PIP_EXTRA_INDEX_URL": variables.get("UV_INDEX", ""),
    }
    return {name: " ".join(url for url in text.split() if not url.startswith("file:")) for name, text in given.items()}
