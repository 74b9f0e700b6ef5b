"""`python -m tests.weights NAME…`: make the weights called so (all without a name), and print where they are."""

from __future__ import annotations

import argparse

from enginehouse.cli.shared.progress import showing

from . import NAMES, PATHS, make


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.weights", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(NAMES))
    names = parser.parse_args().names or list(NAMES)
    for name in names:
        if name not in NAMES:
            parser.error(f"there is no '{name}'; there are: {', '.join(NAMES)}")
    for name in names:
        with showing(name) as progress:
            make(name, progress)
        print(PATHS[name]())


main()
