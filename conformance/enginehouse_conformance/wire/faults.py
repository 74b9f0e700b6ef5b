"""What can go wrong below the API.

WireFault
├── TransportFault         nothing that says anything about the API: may be retried before an answer began
│   ├── Unreachable        no connection, or it closed before an answer began
│   │   └── Closed         it connected, and closed before an answer began
│   └── Silent             no answer in time
└── BrokenAnswer           an answer began and was not what HTTP or the API allow: the target's fault
"""

from __future__ import annotations


class WireFault(Exception):
    """Base of the faults below the API."""


class TransportFault(WireFault):
    """The target could not be asked, or did not answer."""


class Unreachable(TransportFault):
    """No connection, or it closed before an answer began."""


class Closed(Unreachable):
    """The target took the connection, and closed it before an answer began."""


class Silent(TransportFault):
    """No answer within the time limit."""


class BrokenAnswer(WireFault):
    """The target answered against HTTP, or against the form of the API's answers."""
