"""Where packages come from: the server's pip and uv settings, in the form that uv takes them.

An operator behind a company's mirror has told pip once; environments must come from the same place. Read are pip's
variables and files in pip's own order (global, user, site, PIP_CONFIG_FILE, then PIP_* variables), and uv's variables,
which win. All of it travels as variables: command lines are readable to every user of a machine, and addresses may
hold credentials.
"""

import configparser
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pilotlight.core.naming import digest_of

_UV_INDEXES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")
_UV_KEPT_OUT = (
    "UV_CACHE_DIR", "UV_CONFIG_FILE", "UV_NO_CONFIG", "UV_PYTHON", "UV_PROJECT", "UV_SYSTEM_PYTHON", "UV_LINK_MODE",
    "UV_COMPILE_BYTECODE", "UV_NO_CACHE", "UV_WORKING_DIR", "UV_VENV", "UV_TOOL", "UV_ENV_FILE", "UV_BREAK_SYSTEM",
    "UV_REQUIRE_HASHES", "UV_NO_VERIFY_HASHES", "UV_CREDENTIALS_DIR", "UV_NO_PROGRESS", "UV_ISOLATED",
    "UV_CUSTOM_COMPILE_COMMAND", "UV_MANAGED_PYTHON", "UV_NO_MANAGED_PYTHON", "UV_RUN", "UV_LOG", "UV_INSTALL",
)  # fmt: skip
"""What says where things lie and how they are installed: decided here, not by the operator's shell."""

_UV_TRANSPORT = (
    "UV_HTTP", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "UV_INSECURE_HOST", "UV_OFFLINE", "UV_CONCURRENT", "UV_REQUEST",
    "UV_KEYRING", "UV_UPLOAD",
)  # fmt: skip

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSettings:
    variables: Mapping[str, str] = field(default_factory=dict)
    """For uv's environment; may hold credentials."""
    certificate: Path | None = None
    """A certificate bundle, to be copied to where the build's user can read it."""
    config_file: Path | None = None
    """The operator's uv.toml, likewise."""
    no_index: bool = False
    """Only find-links; uv has a flag for it and no variable."""
    several: bool = False
    """Several indexes of pip's, which are all equal to pip; uv takes a package from the first one that has it."""

    @property
    def digest(self) -> str:
        """Of what decides which package is found; how it travels, and under whose name, does not change it."""
        config = b"" if self.config_file is None else self.config_file.read_bytes()
        parts = [
            f"{name}={redacted(value)}"
            for name, value in sorted(self.variables.items())
            if name.startswith("UV_") and not name.startswith(_UV_TRANSPORT)
        ]
        return digest_of([config, str(self.no_index).encode(), *(part.encode() for part in parts)])


def redacted(text: str) -> str:
    """Without the user and password of addresses."""
    return _CREDENTIALS.sub("***@", text)


def index_settings(environ: Mapping[str, str], files: Sequence[Path] | None = None) -> IndexSettings:
    """What the server's variables and pip's files say; `files` in rising priority, by default those that pip reads."""
    pip = _pip_settings(environ, _pip_files(environ) if files is None else files)
    variables = {
        name: value
        for name, value in environ.items()
        if (name.startswith("UV_") and not name.startswith(_UV_KEPT_OUT)) or name.upper() in _PROXIES
    }
    several = False
    if not any(name in environ for name in _UV_INDEXES):
        variables |= _indexes(pip)
        several = bool(pip.get("extra-index-url"))
    variables |= {name: value for name, value in _options(pip).items() if name not in variables}
    if "SSL_CERT_DIR" in environ:
        variables["SSL_CERT_DIR"] = environ["SSL_CERT_DIR"]
    certificate = _certificate(environ, pip)
    if certificate is None and any(os.path.exists(bundle) for bundle in _SYSTEM_BUNDLES):
        # pip trusts what the system trusts, so that a company's own authority is known; uv must be told to.
        variables.setdefault("UV_SYSTEM_CERTS", "true")
    return IndexSettings(
        variables=variables,
        certificate=certificate,
        config_file=_uv_config(environ),
        no_index=_true(pip.get("no-index", "")),
        several=several,
    )


def _indexes(pip: Mapping[str, str]) -> dict[str, str]:
    found = {"UV_DEFAULT_INDEX": pip.get("index-url", ""), "UV_INDEX": " ".join(pip.get("extra-index-url", "").split())}
    return {name: value for name, value in found.items() if value}


def _options(pip: Mapping[str, str]) -> dict[str, str]:
    links = [os.path.expanduser(link) for link in pip.get("find-links", "").split()]
    links = [link for link in links if "://" in link or os.path.exists(link)]  # uv fails where pip warns
    hosts = " ".join(pip.get("trusted-host", "").split())
    proxy = pip.get("proxy", "")
    found = {
        "UV_FIND_LINKS": ",".join(links),
        "UV_INSECURE_HOST": hosts,
        "UV_HTTP_TIMEOUT": _digits(pip.get("timeout", pip.get("default-timeout", ""))),
        "UV_HTTP_RETRIES": _digits(pip.get("retries", "")),
        "SSL_CLIENT_CERT": pip.get("client-cert", ""),
        "HTTP_PROXY": proxy,
        "HTTPS_PROXY": proxy,
    }
    return {name: value for name, value in found.items() if value}


def _certificate(environ: Mapping[str, str], pip: Mapping[str, str]) -> Path | None:
    named = (
        environ.get("SSL_CERT_FILE"),
        pip.get("cert"),
        environ.get("REQUESTS_CA_BUNDLE"),
        environ.get("CURL_CA_BUNDLE"),
    )
    paths = [Path(name).expanduser() for name in named if name]
    return next((path for path in paths if path.is_file()), None)


def _pip_settings(environ: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """pip's options by their long names; later files and then variables win, option by option."""
    settings: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(file.read_text(encoding="utf-8", errors="replace"))
        except (OSError, configparser.Error):
            continue  # pip itself would complain; a server should not stay down for it
        for section in ("global", "install"):
            if parser.has_section(section):
                settings |= dict(parser.items(section))
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return {name.replace("_", "-"): value for name, value in settings.items()}


def _pip_files(environ: Mapping[str, str]) -> list[Path]:
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    system = [
        Path(folder, "pip/pip.conf") for folder in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder
    ]
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    own = [home / ".pip/pip.conf", config / "pip/pip.conf", Path(sys.prefix, "pip.conf")]
    return [*system, Path("/etc/pip.conf"), *own, *([Path(named)] if named else [])]


def _uv_config(environ: Mapping[str, str]) -> Path | None:
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    named = environ.get("UV_CONFIG_FILE")
    places = [Path(named)] if named else [config / "uv/uv.toml", Path("/etc/uv/uv.toml")]
    return next((place for place in places if place.is_file()), None)


def _true(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "y", "on", "t")


def _digits(text: str) -> str:
    whole = text.strip().partition(".")[0]
    return whole if whole.isdigit() else ""
