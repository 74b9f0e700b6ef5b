"""The command line: what it says, what it writes, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from conformance_stub import Behaviour
from enginehouse_conformance.cli import cli
from enginehouse_conformance.cli.progress import LiveTable, progress_for
from enginehouse_conformance.declared import read_declared
from enginehouse_conformance.rules import RULES


class NoObject(Behaviour):
    """`object` is wrong."""

    def answer(self, answer, body):
        return {**answer, "object": "text_completion"}


def invoke(*words: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], env=env)


def run(url: str, *words: object, env: dict[str, str] | None = None) -> Result:
    return invoke("run", url, "--model", "stub-1", "--seed", 5, "--timeout", 5, *words, env=env)


def test_a_target_that_conforms_is_exit_code_0(stub, tmp_path) -> None:
    result = run(stub().url, "--rules", "ENV1,ENV2,SSE1", "--report", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "must 3/3" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "badge.svg",
        "junit.xml",
        "report.html",
        "report.json",
        "report.md",
    ]


def test_a_report_is_rendered_later_as_it_was_written(stub, tmp_path) -> None:
    out = tmp_path / "out"
    assert run(stub().url, "--rules", "ENV1,ENV2", "--report", out).exit_code == 0
    for form, name in (("junit", "junit.xml"), ("md", "report.md"), ("html", "report.html"), ("badge", "badge.svg")):
        assert invoke("render", out, "--format", form).stdout_bytes == (out / name).read_bytes()
        assert invoke("render", out / "report.json", "--format", form, "-o", tmp_path / name).exit_code == 0
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_a_compact_report_can_be_made_and_compared(stub, tmp_path) -> None:
    out, kept = tmp_path / "out", tmp_path / "kept.json"
    run(stub(NoObject()).url, "--rules", "ENV1,ENV2", "--report", out)
    assert invoke("render", out, "--format", "compact", "-o", kept).exit_code == 0
    assert '"transcripts"' in (out / "report.json").read_text()
    assert '"transcripts"' not in kept.read_text()
    assert invoke("diff", out, kept).exit_code == 0


def test_a_report_that_cannot_be_rendered_is_told(tmp_path) -> None:
    result = invoke("render", tmp_path, "--format", "html")
    assert (result.exit_code, "report.json" in result.output or "report.json" in str(result.exception)) == (2, True)


def test_a_target_that_does_not_conform_is_exit_code_1_with_the_curl_that_shows_it(stub) -> None:
    result = run(stub(NoObject()).url, "--rules", "ENV2,SSE1")
    assert result.exit_code == 1
    assert "FAIL ENV2 (MUST)" in result.stdout
    assert "expected: `object` 'chat.completion'" in result.stdout
    assert "seen:     'text_completion'" in result.stdout
    assert "curl -sS -i -N -X POST" in result.stdout


def test_each_result_is_a_plain_line_where_there_is_no_terminal(stub) -> None:
    result = run(stub().url, "--rules", "ENV1,ENV2")
    lines = result.stderr.splitlines()
    assert [line.split()[:1] for line in lines] == [["[1/2]"], ["[2/2]"]]
    assert {line.split()[2] for line in lines} == {"ENV1", "ENV2"}


def test_json_is_the_canonical_report_and_nothing_else(stub) -> None:
    result = run(stub().url, "--rules", "ENV1", "--json")
    report = json.loads(result.stdout)
    assert report["summary"]["verdicts"]["pass"] == 1
    assert report["seed"] == 5


def test_the_key_reaches_the_target_and_no_report(stub, tmp_path) -> None:
    url = stub(NoObject(), key="very-secret").url
    result = run(url, "--rules", "ENV2", "--key-env", "MY_KEY", "--report", tmp_path, env={"MY_KEY": "very-secret"})
    assert result.exit_code == 1
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "very-secret" not in result.output + written
    assert "$API_KEY" in written
    assert "--key-env MY_KEY" in json.loads((tmp_path / "report.json").read_text())["reproduce"]


def test_a_secret_header_is_in_no_report(stub, tmp_path) -> None:
    result = run(stub(NoObject()).url, "--rules", "ENV2", "--header", "X-Api-Key: hush-hush", "--report", tmp_path)
    assert result.exit_code == 1
    assert "hush-hush" not in result.output + "".join(path.read_text() for path in tmp_path.iterdir())


def test_a_url_without_its_version_is_told_how_it_is_meant(stub) -> None:
    url = stub().url
    result = run(url.removesuffix("/v1"), "--rules", "ENV1")
    assert result.exit_code == 2
    assert f"mostly with /v1: {url})" in result.stdout
    assert "mostly" not in run(f"{url}/v1", "--rules", "ENV1").stdout


def test_a_wrong_key_is_no_verdict(stub) -> None:
    result = run(stub(key="right").url, "--quick")
    assert result.exit_code == 2
    assert "check the key" in result.stdout


def test_the_reproduce_command_gives_the_same_requests(stub, tmp_path) -> None:
    url = stub(NoObject()).url
    assert run(url, "--rules", "ENV2,MSG1", "--report", tmp_path / "a").exit_code == 1
    first = json.loads((tmp_path / "a" / "report.json").read_text())
    words = first["reproduce"].split()
    assert words[0] == "enginehouse-conformance"
    again = json.loads(invoke(*words[1:], "--json").stdout)
    bodies = [
        [t["request_body"] for result in r["results"] for t in result.get("transcripts", ())] for r in (first, again)
    ]
    assert bodies[0]
    assert bodies[0] == bodies[1]


def test_without_a_seed_each_run_has_another() -> None:
    seeds = {
        json.loads(invoke("run", "http://127.0.0.1:9/v1", "--model", "m", "--rules", "ENV1", "--json").stdout)["seed"]
        for _ in range(3)
    }
    assert len(seeds) > 1


def test_a_rule_can_be_disabled_with_a_reason_only(stub, tmp_path) -> None:
    skips = tmp_path / "skip.toml"
    skips.write_text('ENV2 = "a proxy rewrites it"\n')
    result = run(stub(NoObject()).url, "--rules", "ENV1,ENV2", "--skip", skips, "--json")
    found = {entry["rule"]: entry for entry in json.loads(result.stdout)["results"]}
    assert found["ENV2"]["verdict"] == "disabled"
    assert found["ENV2"]["message"] == "a proxy rewrites it"
    skips.write_text('ENV2 = " "\n')
    assert "needs a reason" in run("http://127.0.0.1:9", "--skip", skips).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["http://127.0.0.1:9/v1"], "--model"),
        (["not-a-url", "--model", "m"], "http://127.0.0.1:8000/v1"),
        (["ftp://127.0.0.1/v1", "--model", "m"], "is no URL"),
        (["http://127.0.0.1:99999/v1", "--model", "m"], "is no URL"),
        (["http://[::1/v1", "--model", "m"], "is no URL"),
        (["http://" + "a" * 70 + ".example/v1", "--model", "m"], "is no URL"),
        (["http://a b/v1", "--model", "m"], "is no URL"),
        (["http://me:secret@127.0.0.1/v1", "--model", "m"], "--key-env"),
        (["http://127.0.0.1/v1?agent=true", "--model", "m"], "--query"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--rules", "STOPP1"], "Did you mean"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--rules", "AGT"], "openai"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--profile", "nobody"], "dos-ai"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--features", "nowhere.toml"], "nowhere.toml"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--skip", "nowhere.toml"], "nowhere.toml"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--key-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--header", "no colon"], "Name: value"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--header", "a: b\r\nc: d"], "Name: value"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--query", "agent"], "name=value"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--seed", "-1"], "--seed"),
        (["http://127.0.0.1:9/v1", "--model", "m", "--report", "/proc/nowhere"], "--report"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_is_right(words, said) -> None:
    result = invoke("run", *words)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("features = ['flying']", "flying"),
        ("features = ['n']\nabsent = ['stop']", "not both"),
        ("features = ['n']\nalso = ['top_k']", "not both"),
        ("absent = ['n']\nalso = ['n']", "both name n"),
        ("also = ['flying']", "flying"),
        ("colour = 'red'", "colour"),
        ("colour = 'red'", "features, absent, also, limits, context_tokens"),
        ("colour = 'red'", "run --help"),
        ("n = '\xe9", "run --help"),
        ("features = [", "d.toml"),
    ],
)
def test_a_wrong_declaration_names_file_and_fault(text, said, tmp_path) -> None:
    path = tmp_path / "d.toml"
    path.write_text(text)
    result = run("http://127.0.0.1:9/v1", "--features", path)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "d.toml" in result.stderr


def test_help_shows_a_declaration_that_can_be_read(tmp_path) -> None:
    shown = invoke("run", "--help").stdout.partition("may be left out:\n")[2]
    path = tmp_path / "declared.toml"
    path.write_text(textwrap.dedent(shown))
    declared = read_declared(path)
    assert declared.template_variables
    assert [name for name in ("top_k", "min_tokens", "n", "logprobs") if declared.has(name)] == ["top_k", "n"]


def test_list_has_the_rules_of_the_profile() -> None:
    words = invoke("list", "--profile", "krosai").stdout.split()
    assert "ENV1" in words
    assert "STOP1" not in words
    entries = json.loads(invoke("list", "--json", "--level", "must", "--rules", "STOP*").stdout)
    assert {entry["level"] for entry in entries} == {"MUST"}
    assert {entry["section"] for entry in entries} == {"STOP"}


def test_every_rule_is_explained() -> None:
    for rule in RULES.values():
        result = invoke("explain", rule.id.lower())
        assert result.exit_code == 0, rule.id
        assert rule.requirement in result.stdout, rule.id
        assert rule.source in result.stdout, rule.id


def test_explain_shows_the_check_and_knows_what_it_does_not_know() -> None:
    assert (
        "async def a_minimal_request" in invoke("explain", "ENV1").stdout
        or "async def" in invoke("explain", "ENV1").stdout
    )
    result = invoke("explain", "ENV99")
    assert result.exit_code == 2
    assert "Did you mean" in result.stderr


def test_diff_tells_better_from_worse(stub, tmp_path) -> None:
    run(stub(NoObject()).url, "--rules", "ENV1,ENV2", "--report", tmp_path / "a")
    run(stub().url, "--rules", "ENV2,ENV3", "--report", tmp_path / "b")
    same = invoke("diff", tmp_path / "a", tmp_path / "a" / "report.json")
    assert same.exit_code == 0
    assert "0 differ" in same.stdout
    result = invoke("diff", tmp_path / "a", tmp_path / "b", "--json")
    assert result.exit_code == 1
    found = {
        change["rule"]: (change["before"], change["after"], change["trend"]) for change in json.loads(result.stdout)
    }
    assert found == {
        "ENV1": ("pass", None, "other"),
        "ENV2": ("fail", "pass", "better"),
        "ENV3": (None, "pass", "other"),
    }
    assert "1 better, 0 worse" in invoke("diff", tmp_path / "a", tmp_path / "b").stdout
    assert "0 better, 1 worse" in invoke("diff", tmp_path / "b", tmp_path / "a").stdout


def test_diff_says_which_targets_and_under_which_conditions(stub, tmp_path) -> None:
    (tmp_path / "f.toml").write_text('absent = ["n"]')
    right, wrong = stub().url, stub(NoObject()).url
    run(right, "--rules", "ENV1,ENV2,N1", "--report", tmp_path / "a")
    run(wrong, "--rules", "ENV1,ENV2,N1", "--features", tmp_path / "f.toml", "--report", tmp_path / "b")
    text = invoke("diff", tmp_path / "a", tmp_path / "b").stdout
    assert f"A: stub-1 at {right}" in text
    assert f"B: stub-1 at {wrong}" in text
    assert "only A declares n" in text
    better = text.partition("Better in A: ")[2]
    assert better.startswith("2 MUST")
    assert "ENV2" in better
    assert "pass -> fail" in better
    assert "1 alike, 2 differ" in text


def test_diff_of_what_is_no_report_is_exit_code_2(tmp_path) -> None:
    (tmp_path / "x.json").write_text("{}")
    result = invoke("diff", tmp_path / "x.json", tmp_path / "nowhere.json")
    assert result.exit_code == 2
    assert "x.json" in result.stderr


def test_replay_asks_the_same_again_and_sees_that_it_is_mended(stub, tmp_path) -> None:
    url = stub(NoObject()).url
    run(url, "--rules", "ENV2", "--report", tmp_path)
    result = invoke("replay", tmp_path, "env2")
    assert result.exit_code == 1
    assert "ENV2 then: fail" in result.stdout
    assert "curl" in result.stdout
    first = json.loads((tmp_path / "report.json").read_text())["results"][0]["transcripts"][0]["request_body"]
    assert first in result.stdout
    mended = invoke("replay", tmp_path, "ENV2", "--url", stub().url)
    assert mended.exit_code == 0
    assert "PASS ENV2" in mended.stdout


def test_replay_of_a_rule_that_the_report_lacks_names_those_it_has(stub, tmp_path) -> None:
    run(stub().url, "--rules", "ENV2", "--report", tmp_path)
    result = invoke("replay", tmp_path, "ENV3")
    assert result.exit_code == 2
    assert "It has ENV2" in result.stderr


def test_a_terminal_gets_a_live_table_and_ci_does_not(monkeypatch) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda self: True))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    assert isinstance(progress_for(list(RULES.values())), LiveTable)
    monkeypatch.setenv("CI", "true")
    assert not isinstance(progress_for(list(RULES.values())), LiveTable)


def test_the_live_table_shows_sections_running_checks_and_problems(stub, monkeypatch) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda self: True))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    result = run(stub(NoObject()).url, "--rules", "ENV1,ENV2,SSE14")
    assert result.exit_code == 1
    assert "Envelope" in result.stderr
    assert "Streaming" in result.stderr


def program(*words: str) -> list[str]:
    return [str(Path(sys.executable).parent / "enginehouse-conformance"), *words]


def test_the_installed_program_runs() -> None:
    done = subprocess.run(program("run", "http://127.0.0.1:9/v1", "--model", "m", "--quick"), capture_output=True)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr + done.stdout


def test_the_time_scale_is_part_of_the_command_that_repeats_a_run(stub, tmp_path) -> None:
    url = stub().url
    result = run(url, "--rules", "ENV1", "--time-scale", "2.5", "--report", tmp_path)
    assert result.exit_code == 0, result.output
    assert "--time-scale 2.5" in json.loads((tmp_path / "report.json").read_text())["reproduce"]
    assert invoke("run", url, "--model", "m", "--time-scale", "0").exit_code == 2
