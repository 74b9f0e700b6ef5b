"""The text of units. Each directive's reason stands in docs/services.md, which tests compare with these."""

from __future__ import annotations

import grp

from .job import Job

_UNIT = """\
{comment}
[Unit]
Description=Enginehouse, one API in front of inference engines
"""

_NETWORK = """\
Wants=network-online.target
After=network-online.target
"""

_SERVICE = """\
StartLimitIntervalSec=120
StartLimitBurst=10

[Service]
Type=notify
NotifyAccess=main
"""

_RUNS = """\
Restart=on-failure
RestartSec=2
KillMode=mixed
OOMPolicy=continue
UMask=0077
RuntimeDirectory=enginehouse
"""

_ALWAYS = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
"""

_SYSTEM = """\
StateDirectory=enginehouse
CacheDirectory=enginehouse
WorkingDirectory=%S/enginehouse
Environment=HOME=%C/enginehouse
Environment=ENGINEHOUSE_DATA=%S/enginehouse
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=no
PrivateMounts=yes
ProtectProc=invisible
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RemoveIPC=yes
KeyringMode=private
MemoryDenyWriteExecute=no
"""

_GPU_GROUPS = ("render", "video")
_FIRST_OPEN_PORT = 1024


def user_unit(job: Job) -> str:
    """For the manager of a user, who needs no other rights for it; `{comment}` is still to be filled in."""
    return "".join(
        (
            _UNIT,
            _SERVICE,
            _commands(job),
            "EnvironmentFile=-%E/enginehouse/environment\n",
            _RUNS,
            _ALWAYS,
            "\n[Install]\nWantedBy=default.target\n",
        )
    )


def system_unit(job: Job) -> str:
    """For the system's manager; `{comment}` is still to be filled in."""
    capabilities = "CAP_NET_BIND_SERVICE" if 0 < job.port < _FIRST_OPEN_PORT else ""
    return "".join(
        (
            _UNIT,
            _NETWORK,
            _SERVICE,
            _account(job),
            _commands(job),
            "EnvironmentFile=-/etc/enginehouse/environment\n",
            _RUNS,
            _SYSTEM.replace("{capabilities}", capabilities),
            _ALWAYS,
            "\n[Install]\nWantedBy=multi-user.target\n",
        )
    )


def _commands(job: Job) -> str:
    program, *rest = job.arguments
    words = " ".join([quoted(program, is_program=True), *map(quoted, rest)])
    return f"ExecStart={words}\nExecReload=/bin/kill -HUP $MAINPID\n"


def _account(job: Job) -> str:
    groups = " ".join(name for name in _GPU_GROUPS if _is_group(name))
    devices = f"SupplementaryGroups={groups}\n" if groups else ""
    return (f"User={job.run_as}\n" if job.run_as else "DynamicUser=yes\nUser=enginehouse\n") + devices


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def quoted(word: str, *, is_program: bool = False) -> str:
    """*word* as one of a unit's command line, where `%` and, but for the program, `$` mean something else."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    word = word if is_program else word.replace("$", "$$")
    return f'"{word}"'
