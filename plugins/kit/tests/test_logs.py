import pytest

from enginehouse_kit.process.logs import level_of


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("ERROR 11-21 10:00:00 [core.py:1] failed", "error"),
        ("(EngineCore pid=3) ERROR 11-21 10:00:00 failed", "error"),
        ("WARNING 11-21 10:00:00 [x.py:1] slow", "warning"),
        ("INFO 11-21 10:00:00 [x.py:1] an error was avoided", "info"),
        ("2026-11-21 10:00:00,123 - DEBUG - detail", "debug"),
        ("[error] bad", "error"),
        ("level=warning msg=x", "warning"),
        ('{"level":"error","msg":"x"}', "error"),
        ("E1121 10:00:00.1 file.cc:1] bad", "error"),
        ("W 0.1 something", "warning"),
        ("0.00.123.456 E bad", "error"),
        ("llama_model_load: error: no file", "error"),
        ("srv  load_model: loading", "info"),
        ("Traceback (most recent call last):", "error"),
        ("ValueError: bad", "info"),
        ("terminate called after throwing an instance of 'x'", "error"),
        ("Terrors and DEBUGGING", "info"),
        ("", "info"),
    ],
)
def test_levels_are_guessed_from_common_forms(line, level):
    assert level_of(line) == level
