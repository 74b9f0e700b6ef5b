"""Values that would break what they configure are refused when the file is read, with their place."""

from __future__ import annotations

import msgspec
import pytest

from enginehouse.config import ConfigError, bind, load_config
from enginehouse_plugin import BackendType, DeviceKind, FilePath, ProgramPath

HASH = "a" * 64
MODEL = '[[models.a.placements]]\nbackend = "toy"\nsource = "s"\n'


class Options(msgspec.Struct, frozen=True):
    """Options that name files."""

    template: FilePath | None = None
    program: ProgramPath | None = None


@pytest.fixture
def refusal(tmp_path):
    """Why a text cannot be used as a configuration."""

    def read(text: str) -> str:
        file = tmp_path / "house.toml"
        file.write_text(text)
        backend = BackendType(name="toy", version="1", create=lambda: None, options=Options)
        with pytest.raises(ConfigError) as caught:
            bind(load_config(file), {"toy": backend}, {})
        return str(caught.value).replace(str(file), "FILE")

    return read


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f'[[keys]]\nname = "a\\n"\nsha256 = "{HASH}"', "keys[0].name"),
        (f'[[keys]]\nname = "a"\nsha256 = "{HASH}\\n"', "keys[0].sha256"),
        ('[server]\nrequest_id_header = "x-id\\n"', "server.request_id_header"),
        (MODEL + 'requires = ["cpu\\n"]', 'models."a".placements[0].requires[0]'),
    ],
)
def test_no_name_ends_with_the_end_of_a_line(refusal, text, place):
    """It would end a header or a line of the log."""
    assert refusal(text).startswith(f"FILE: {place}: expected a ")


@pytest.mark.parametrize("name", ["Authorization", "content-length", "Host", "Set-Cookie", "transfer-encoding"])
def test_an_id_travels_in_no_header_that_means_something_else(refusal, name):
    assert f"'{name}' means something else in HTTP" in refusal(f'[server]\nrequest_id_header = "{name}"')


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[usage]\npath = "a\\u0000b"', "usage.path"),
        ('[usage]\npath = ""', "usage.path"),
        ('[certificates]\npath = "\\u0000"', "certificates.path"),
        ('[server]\ntls_cert = "\\u0000"\ntls_key = "k"', "server.tls_cert"),
        (MODEL + 'python = "\\u0000"', 'models."a".placements[0].python'),
        (MODEL + 'options = { template = "\\u0000" }', 'models."a".placements[0].options.template'),
        (MODEL + 'options = { program = "\\u0000" }', 'models."a".placements[0].options.program'),
    ],
)
def test_a_path_that_no_system_has_is_refused(refusal, text, place):
    assert refusal(text).startswith(f"FILE: {place}: expected a string")


def test_a_file_that_is_nested_too_deeply_is_refused(refusal):
    assert refusal(f"a = {'[' * 5000}{']' * 5000}") == "FILE: it is nested too deeply."


def test_a_kind_of_device_is_one_word():
    for name in ("cpu\n", "", "CPU", "a b"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(name, DeviceKind)
