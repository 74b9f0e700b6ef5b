"""Wake-on-LAN: the packet that a sleeping machine's network card waits for."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

REPEATS: Final = 6
_SIZE: Final = 16  # times that the address stands in the packet


def magic_packet(mac: str) -> bytes:
    """The packet for the card with the address *mac*, as `aa:bb:cc:dd:ee:ff`: six times 0xFF, then it sixteen times."""
    return b"\xff" * REPEATS + bytes.fromhex(mac.replace(":", "").replace("-", "")) * _SIZE


def send_magic_packet(mac: str, to: str) -> None:
    """Send it to *to*, an address of a network or host with its port.

    Raises:
        OSError: it cannot be sent, as without a network.
    """
    host, _, port = to.rpartition(":")
    address = host.strip("[]")
    family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(magic_packet(mac), (address, int(port)))
