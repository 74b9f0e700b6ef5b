from enginehouse_conformance import ConformanceSuite


class TestConformance(ConformanceSuite):
    check_timeout_s = 600.0
    must_judge = True
