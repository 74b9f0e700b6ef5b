"""Reading a configuration: the file, then what only the loaded plugins can check."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from enginehouse_plugin import BackendType

from .absent import absent_backends
from .decode import decode, suggest
from .errors import ConfigError
from .hosts import check_hosts, check_mdns
from .identity import Fingerprinting, WatchConfig, with_references
from .listener import refuse_open_listener
from .machines import ClusterConfig, HostConfig, MdnsConfig
from .mounts import check_mounts
from .reading import read_bounded
from .schema import (
    SQLITE,
    AccountsConfig,
    AgentConfig,
    BudgetConfig,
    CertificatesConfig,
    Config,
    KeyConfig,
    LogConfig,
    ModelConfig,
    MountConfig,
    PlacementConfig,
    ResponsesConfig,
    ServerConfig,
    Trust,
    UsageConfig,
    WeightsConfig,
)
from .section import Section
from .telemetry import TelemetryConfig, export_settings

EMBEDDED_MODEL = "smollm2-135m"
_TOP_KEYS = ("trust", "fingerprint")
_SECTIONS = (
    *_TOP_KEYS, "server", "log", "telemetry", "models", "agents", "mounts", "keys", "hosts", "mdns", "cluster",
    "accounts", "usage", "certificates", "watch", "budget", "weights", "responses",
)  # fmt: skip
_SYNTAX_PLACE = re.compile(r" ?\(at (?P<place>line \d+, column \d+|end of document)\)")
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: `C:` is a drive
S = TypeVar("S", bound=msgspec.Struct)


class _Top(Section, frozen=True):
    """The keys above all sections."""

    trust: Trust = "declared"
    fingerprint: Fingerprinting = "certify"


def default_config() -> Config:
    """The configuration without a file: the embedded model on loopback."""
    return Config(models=_embedded())


def _embedded() -> dict[str, ModelConfig]:
    placement = PlacementConfig(backend="llamacpp", source=f"demo:{EMBEDDED_MODEL}")
    return {EMBEDDED_MODEL: ModelConfig(placements=(placement,), description="SmolLM2 135M Instruct, embedded")}


def load_config(path: str | Path) -> Config:
    """Read the file at *path*. Relative paths in it are relative to it; without models it serves the embedded one.

    Raises:
        ConfigError: it cannot be read or used; the error names the file, the line or key, and the fix.
    """
    file = str(path)
    return read_house(_read(Path(path), file), file=file, folder=Path(path).absolute().parent)


def read_house(raw: dict[str, Any], *, file: str | None, folder: Path) -> Config:
    """Read the tables of a configuration, which stand in *file* (None: in none); relative paths count from *folder*.

    Raises:
        ConfigError: they cannot be used.
    """
    for name in raw:
        if name not in _SECTIONS:
            raise ConfigError(f"unknown section '{name}'.", file=file, where=name, fix=suggest(name, _SECTIONS))
    certificates = decode(raw.get("certificates", {}), CertificatesConfig, file=file, where="certificates")
    top = decode({name: raw[name] for name in _TOP_KEYS if name in raw}, _Top, file=file, where="")
    models = _models(raw.get("models", {}), ModelConfig, "models", file)
    config = Config(
        trust=top.trust,
        fingerprint=top.fingerprint,
        server=_server(decode(raw.get("server", {}), ServerConfig, file=file, where="server"), folder, file),
        log=decode(raw.get("log", {}), LogConfig, file=file, where="log"),
        models=with_references(models, lambda path: str(_inside(folder, path)), file) or _embedded(),
        agents=_models(raw.get("agents", {}), AgentConfig, "agents", file),
        mounts=decode(raw.get("mounts", []), tuple[MountConfig, ...], file=file, where="mounts"),
        keys=_keys(raw.get("keys", []), file),
        hosts=_other_hosts(raw.get("hosts", {}), folder, file),
        telemetry=decode(raw.get("telemetry", {}), TelemetryConfig, file=file, where="telemetry"),
        mdns=decode(raw.get("mdns", {}), MdnsConfig, file=file, where="mdns"),
        cluster=_cluster(raw.get("cluster"), folder, file),
        accounts=_accounts(decode(raw.get("accounts", {}), AccountsConfig, file=file, where="accounts"), folder),
        usage=_usage(decode(raw.get("usage", {}), UsageConfig, file=file, where="usage"), folder),
        responses=decode(raw.get("responses", {}), ResponsesConfig, file=file, where="responses"),
        certificates=_certificates(certificates, folder),
        watch=decode(raw.get("watch", {}), WatchConfig, file=file, where="watch"),
        budget=decode(raw.get("budget", {}), BudgetConfig, file=file, where="budget"),
        weights=decode(raw.get("weights", {}), WeightsConfig, file=file, where="weights"),
        file=file,
        named=frozenset(raw),
    )
    check_mounts(config)
    check_mdns(config)
    export_settings(config)
    if config.accounts.url is not None and config.usage.path is not None:
        raise ConfigError(
            "accounts.url says already where usage is kept.",
            file=file,
            where="usage.path",
            fix="Leave out one of them.",
        )
    if config.accounts.keys and config.store_url is None:
        raise ConfigError(
            "there is no database that could hold keys.", file=file, where="accounts.keys", fix="Set `accounts.url`."
        )
    refuse_open_listener(config)
    return config


def _read(path: Path, file: str) -> dict[str, Any]:
    try:
        text = read_bounded(path, file).decode("utf-8-sig")  # some editors begin a file with a mark of its encoding
    except FileNotFoundError:
        raise ConfigError(
            "there is no such file.", file=file, fix="Without --config the embedded model is served."
        ) from None
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}.", file=file) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError("it is not UTF-8.", file=file, where=f"line {line}", fix="Save it as UTF-8.") from None
    try:
        raw = tomllib.loads(text)
    except RecursionError:
        raise ConfigError("it is nested too deeply.", file=file) from None
    except tomllib.TOMLDecodeError as error:
        place = _SYNTAX_PLACE.search(str(error))
        problem = _SYNTAX_PLACE.sub("", str(error))
        where = place["place"] if place else ""
        if where == "end of document":
            where = f"line {len(text.splitlines())} (the end)"
        raise ConfigError(f"this is not TOML: {problem}.", file=file, where=where) from None
    if not raw:  # a disk that is full leaves such a file behind, and an editor that is about to write
        told = "it is empty." if not text.strip() else "it says nothing but comments."
        raise ConfigError(told, file=file, fix="Write `[models]` to serve the embedded model alone.")
    return raw


def _server(server: ServerConfig, folder: Path, file: str | None) -> ServerConfig:
    for name in ("tls_cert", "tls_key"):
        given: str | None = getattr(server, name)
        if given is None:
            continue
        found = _inside(folder, given)
        if not found.is_file():
            raise ConfigError(f"there is no file at {found}.", file=file, where=f"server.{name}")
        server = msgspec.structs.replace(server, **{name: str(found)})
    if server.admin_socket is not None:
        server = msgspec.structs.replace(server, admin_socket=str(_inside(folder, server.admin_socket)))
    for at, proxy in enumerate(server.trusted_proxies):
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            raise ConfigError(
                f"'{proxy}' is no address.",
                file=file,
                where=f"server.trusted_proxies[{at}]",
                fix="Write an IP address or a network such as 10.0.0.0/8.",
            ) from None
    check_hosts(server, file)
    return server


def _cluster(raw: Any, folder: Path, file: str | None) -> ClusterConfig | None:  # Any: as it was read
    if raw is None:
        return None
    cluster = decode(raw, ClusterConfig, file=file, where="cluster")
    if cluster.token_file is None:
        return cluster
    return msgspec.structs.replace(cluster, token_file=str(_inside(folder, cluster.token_file)))


def _accounts(accounts: AccountsConfig, folder: Path) -> AccountsConfig:
    url = accounts.url
    if url is None or not url.startswith(SQLITE):
        return accounts
    return msgspec.structs.replace(accounts, url=SQLITE + str(_inside(folder, url.removeprefix(SQLITE))))


def _usage(usage: UsageConfig, folder: Path) -> UsageConfig:
    return usage if usage.path is None else UsageConfig(path=str(_inside(folder, usage.path)))


def _certificates(certificates: CertificatesConfig, folder: Path) -> CertificatesConfig:
    path = certificates.path
    return certificates if path is None else CertificatesConfig(path=str(_inside(folder, path)))


def _inside(folder: Path, path: str) -> Path:
    # Not `Path.expanduser`, which raises for a user that is not there.
    return (folder / os.path.expanduser(path)).resolve()


def _models(raw: object, kind: type[S], where: str, file: str | None) -> dict[str, S]:
    tables = decode(raw, dict[str, Any], file=file, where=where)
    for name in tables:
        if not name or len(name) > 200 or not name.isprintable() or name != name.strip():
            raise ConfigError(
                f"{name!r} cannot be a model ID.",
                file=file,
                where=where,
                fix="Use 1 to 200 printable characters without blanks at the ends.",
            )
    return {name: decode(table, kind, file=file, where=f'{where}."{name}"') for name, table in tables.items()}


def _other_hosts(raw: object, folder: Path, file: str | None) -> dict[str, HostConfig]:
    hosts = {}
    for name, table in decode(raw, dict[str, Any], file=file, where="hosts").items():
        if not _HOST_NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot be the name of a host.",
                file=file,
                where="hosts",
                fix="Use letters, digits, '.', '_' and '-', 64 at most.",
            )
        host = decode(table, HostConfig, file=file, where=f"hosts.{name}")
        if host.key_file is not None:
            host = msgspec.structs.replace(host, key_file=str(_inside(folder, host.key_file)))
        hosts[name] = host
    return hosts


def _keys(raw: object, file: str | None) -> tuple[KeyConfig, ...]:
    keys = decode(raw, tuple[KeyConfig, ...], file=file, where="keys")
    names: set[str] = set()
    hashes: set[str] = set()
    for at, key in enumerate(keys):
        if key.name in names:
            raise ConfigError(f"a second key is called '{key.name}'.", file=file, where=f"keys[{at}].name",
                              fix="Names tell clients apart: give each key its own.")  # fmt: skip
        if key.sha256 in hashes:
            raise ConfigError("another key has the same secret.", file=file, where=f"keys[{at}].sha256",
                              fix="Make a new one with `enginehouse keys new`.")  # fmt: skip
        names.add(key.name)
        hashes.add(key.sha256)
    return keys


def bind(config: Config, backends: Mapping[str, BackendType], quarantined: Mapping[str, str]) -> Config:
    """Check placements against the loaded plugins, and decode their options into the backends' own types.

    *quarantined* gives the reason for each plugin that was refused, by its name. A placement may be meant for other
    hosts: one whose backend is not installed here stays as it was read, and is never chosen.

    Raises:
        ConfigError: an option is wrong, a backend is refused or misspelt, or none is known or installed.
    """
    folder = Path(config.file).absolute().parent if config.file else Path.cwd()
    named = {placement.backend for model in config.models.values() for placement in model.placements}
    if not backends or not named & {*backends, *absent_backends(backends)}:
        name, model = next(iter(config.models.items()))
        where = f'models."{name}".placements[0].backend'
        raise _no_backend(model.placements[0].backend, where, config.file, backends, quarantined)
    models = {}
    for name, model in config.models.items():
        placements = tuple(
            _reproducible(
                _bind_placement(
                    placement, f'models."{name}".placements[{at}]', config.file, folder, backends, quarantined
                ),
                model,
                f'models."{name}".reproducible',
                config.file,
            )
            for at, placement in enumerate(model.placements)
        )
        models[name] = msgspec.structs.replace(model, placements=placements)
    return msgspec.structs.replace(config, models=models)


def _bind_placement(
    placement: PlacementConfig,
    where: str,
    file: str | None,
    folder: Path,
    backends: Mapping[str, BackendType],
    quarantined: Mapping[str, str],
) -> PlacementConfig:
    backend = backends.get(placement.backend)
    if backend is None:
        if _may_be_of_other_hosts(placement.backend, backends, quarantined):
            return placement
        raise _no_backend(placement.backend, f"{where}.backend", file, backends, quarantined)
    if placement.devices > 1 and not backend.kinds:
        raise ConfigError(
            f"the backend '{placement.backend}' takes no device of this host, and {placement.devices} are asked for.",
            file=file,
            where=f"{where}.devices",
            fix="Leave the key out.",
        )
    options = _with_absolute_paths(
        decode(placement.options, backend.options, file=file, where=f"{where}.options"), folder
    )
    source = placement.source
    if backend.needs_weights and not _SCHEME.match(source):
        source = str(_inside(folder, source))
    python = None if placement.python is None else _program(folder, placement.python)
    return msgspec.structs.replace(placement, options=options, source=source, python=python)


def _reproducible(placement: PlacementConfig, model: ModelConfig, where: str, file: str | None) -> PlacementConfig:
    """*placement* with what *model* says of reproducible answers, as the option of its backend."""
    if not model.reproducible or not isinstance(placement.options, msgspec.Struct):
        return placement
    if not hasattr(placement.options, "reproducible"):
        raise ConfigError(f"the backend '{placement.backend}' cannot promise it.", file=file, where=where)
    return msgspec.structs.replace(placement, options=msgspec.structs.replace(placement.options, reproducible=True))


def _with_absolute_paths(options: S, folder: Path) -> S:
    """*options* with those that the plugin declares as paths counted from *folder*."""
    paths = {}
    for field in msgspec.structs.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, str) and (kind := _kind_of_path(field.type)):
            paths[field.name] = str(_inside(folder, value)) if kind == "file" else _program(folder, value)
    return msgspec.structs.replace(options, **paths) if paths else options


def _kind_of_path(annotation: Any) -> str | None:  # any type annotation
    for part in typing.get_args(annotation):
        if isinstance(part, msgspec.Meta):
            if part.extra and (kind := part.extra.get("enginehouse")):
                return str(kind)
        elif kind := _kind_of_path(part):
            return kind
    return None


def _program(folder: Path, program: str) -> str:
    if "/" not in program and not program.startswith("~"):
        return program
    # Not resolved: an environment's interpreter is a link that knows its environment by its place.
    return str(folder / os.path.expanduser(program))


def _may_be_of_other_hosts(name: str, backends: Mapping[str, BackendType], quarantined: Mapping[str, str]) -> bool:
    """Whether *name* looks like a backend that other hosts have, rather than a refused or a misspelt one."""
    absent = absent_backends(backends)
    if name in absent:
        return name not in quarantined
    if quarantined:  # it may be what one of these would have offered
        return False
    return not difflib.get_close_matches(name, (*backends, *absent), n=1)


def _no_backend(
    name: str, where: str, file: str | None, backends: Mapping[str, BackendType], quarantined: Mapping[str, str]
) -> ConfigError:
    if reason := quarantined.get(name):
        return ConfigError(f"the plugin '{name}' was refused: {reason}", file=file, where=where)
    refused = "".join(f" The plugin '{plugin}' was refused: {reason}" for plugin, reason in quarantined.items())
    fix = (
        suggest(name, backends)
        if backends
        else "No plugin offers a backend: install one, such as enginehouse-llamacpp."
    )
    return ConfigError(f"no plugin offers the backend '{name}'.", file=file, where=where, fix=fix + refused)
