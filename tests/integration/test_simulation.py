"""The simulation of a large cluster, small: the router's own plan and choice, in simulated time."""

from __future__ import annotations

from tests.simulation.town import Size, Town


async def test_routers_share_engines_and_lose_a_tenth_of_the_nodes_without_moving_the_rest() -> None:
    """Nothing that runs moves, what is lost finds a place, and requests that found an engine gone went elsewhere."""
    size = Size(routers=2, nodes=20, devices=2, models=4, replicas=10, arrivals=2000, conversations=50, seconds=2)
    town = Town(size)
    town.run()
    counted = town.counted
    assert counted["instances"] == 40
    assert counted["instances lost"] == 4
    assert counted["instances with a place again"] == 4
    assert counted["instances moved without need"] == 0
    assert counted["most instances on one device"] <= 2
    assert counted["tried again"] <= size.routers * counted["instances lost"]
    assert counted["answered"] > 1000
    mean, _, most = town.imbalance[len(town.imbalance) // 2 - 1]
    assert most <= 3 * mean
    sticky = Town(Size(**{**vars(size), "is_sticky": True}))
    sticky.run()
    assert sticky.counted["cache hits"] > counted["cache hits"]
