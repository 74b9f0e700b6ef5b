from enginehouse_conformance import ConformanceSuite


class TestConformance(ConformanceSuite):
    check_timeout_s = 900.0
    time_scale = 10.0  # the machine may be busy with other tests
