"""`python -m tests.simulation`: a cluster of 200 nodes in simulated time; prints how the router's own code decides."""

from __future__ import annotations

import argparse
import asyncio
import statistics

from tests.simulation.town import Size, Town


def main() -> None:
    """Run, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of simulated time")
    asked = parser.parse_args()
    for is_sticky in (False, True):
        asyncio.run(simulate(Size(seconds=asked.seconds, is_sticky=is_sticky)))


async def simulate(size: Size) -> None:
    """Run one simulation, and print its figures."""
    town = Town(size)
    town.run()
    counted = town.counted
    how = "a client stays with its router" if size.is_sticky else "any router"
    print(f"{size.routers} routers, {size.nodes} nodes, {counted['instances']} instances, "
          f"{size.arrivals} requests a second for {size.seconds:g} s; {how}")  # fmt: skip
    for what, took_s in town.took_s.items():
        print(f"  {what}: {took_s * 1000:.1f} ms")
    decided = sorted(town.decided_s)
    median, slow = statistics.median(decided), decided[int(0.99 * len(decided))]
    print(f"  a choice: {median * 1e6:.0f} µs (median), {slow * 1e6:.0f} µs (99 of 100)")
    half = len(town.imbalance) // 2
    for when, samples in (("before", town.imbalance[2:half]), ("after", town.imbalance[half:])):
        mean, most, top = (statistics.mean(column) for column in zip(*samples, strict=True))
        print(f"  requests at an engine {when}: mean {mean:.0f}, 99 of 100 engines {most:.0f}, most {top:.0f}")
    share = counted["cache hits"] / counted["later turns"]
    print(f"  later turns that found their conversation in the cache: {share:.0%}")
    for name in sorted(counted):
        print(f"  {name}: {counted[name]}")


if __name__ == "__main__":
    main()
