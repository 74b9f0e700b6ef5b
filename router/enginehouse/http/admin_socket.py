"""The Unix socket for administration: whoever may open its file is the owner of the process, and needs no key."""

from __future__ import annotations

import contextlib
import os
import socket
import stat

from enginehouse.config import ConfigError

_BACKLOG = 64
_MODE = 0o600
_LONGEST = 103  # bytes of a path on macOS; Linux has four more


def listen_to_owner(path: str) -> socket.socket:
    """Return a listener at *path* that only the user of this process may connect to.

    Raises:
        ConfigError: it cannot be, or another server listens there.
    """
    where = {"where": "server.admin_socket"}
    if len(os.fsencode(path)) > _LONGEST:
        raise ConfigError(f"{path} is longer than a socket's path may be.", fix="Choose a shorter one.", **where)
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~_MODE)  # from the first moment on nobody else may connect
    try:
        listener.bind(path)
        os.chmod(path, _MODE)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen at {path}: {error.strerror or error}.", fix="Choose another place.", **where
        ) from error
    finally:
        os.umask(before)
    return listener


def forget(path: str) -> None:
    """Remove the socket at *path*, if it is still there."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)


def _clear(path: str) -> None:
    """Remove the socket of a server that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            forget(path)
        except OSError:  # nothing is there, or what is no socket: binding tells
            pass
        else:
            raise ConfigError(
                f"another server listens at {path}.",
                where="server.admin_socket",
                fix="End it, or choose another place.",
            )
