from enginehouse_conformance import ConformanceSuite


class TestConformance(ConformanceSuite):
    check_timeout_s = 900.0
    must_judge = True
    skip = dict.fromkeys(("TOOL17", "TOOL22"), "whether this model calls again where it may is chance")
    time_scale = 10.0  # the machine may be busy with other tests
