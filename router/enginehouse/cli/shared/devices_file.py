"""The devices of another host, from a file: what `enginehouse doctor --json` printed there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from enginehouse.config import named_kinds
from enginehouse_plugin import Device

_MOST_BYTES = 1 << 60


def read_devices(file: str) -> tuple[Device, ...]:
    """The devices in the JSON at *file*: a list of them, or an object with such a list under `devices`.

    Raises:
        click.ClickException: it cannot be read; the message names the file, the place and the problem.
    """
    try:
        found: Any = msgspec.json.decode(Path(file).read_bytes())
        if isinstance(found, dict):
            if "devices" not in found:
                raise _unusable(file, "it has no list 'devices'")
            found = found["devices"]
        devices = msgspec.convert(found, tuple[Device, ...])
    except OSError as error:
        raise click.ClickException(f"{file}: it cannot be read: {error.strerror}.") from None
    except msgspec.ValidationError as error:
        raise _unusable(file, named_kinds(str(error).replace("`$", "`devices"))) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unusable(file, f"it is not JSON ({error})") from None
    ids = [device.id for device in devices]
    for at, device in enumerate(devices):
        if not device.id:
            raise _unusable(file, f"`devices[{at}].id` is empty")
        if ids.count(device.id) > 1:
            raise _unusable(file, f"two devices are called '{device.id}'")
        if not 0 < device.memory_bytes <= _MOST_BYTES:
            raise _unusable(file, f"`devices[{at}].memory_bytes` is {device.memory_bytes}: no size of a memory")
        if (device.free_bytes or 0) < 0:
            raise _unusable(file, f"`devices[{at}].free_bytes` is {device.free_bytes}: below zero")
    return devices


def _unusable(file: str, problem: str) -> click.ClickException:
    return click.ClickException(f"{file}: {problem}. Write what 'enginehouse doctor --json' prints on that host.")
