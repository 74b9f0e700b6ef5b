"""Every rule of the suite, on the Markov chain."""

from enginehouse_conformance import ConformanceSuite


class TestConformance(ConformanceSuite):
    pass
