"""The siege: hostile requests, clients, engines and days against a router that runs.

`python -m tests.siege [NAME…]` runs scenarios one by one and prints each one's counts and verdict. A module here with
`SCENARIOS` brings some of its own.
"""
