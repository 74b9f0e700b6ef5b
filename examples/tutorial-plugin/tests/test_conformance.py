"""Every rule of the suite, on the Markov chain."""

from enginehouse_conformance.suite import ConformanceSuite


class TestConformance(ConformanceSuite):
    pass
