"""Reading a configuration: strict, with errors that name the place and the fix."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.unit.config.reading import MODEL, ToyOptions, a_backend, refusal

from enginehouse.config import (
    ConfigError,
    KeyConfig,
    ServerConfig,
    default_config,
    load_config,
    refuse_open_listener,
)
from enginehouse_plugin import FilePath, ProgramPath

A_KIND = "expected a kind of device, one word such as cuda, rocm, apple, vulkan, cpu."
HASH = "a" * 64


def test_the_default_serves_the_embedded_model_on_loopback():
    config = default_config()
    assert config.server.host == "127.0.0.1"
    assert [(name, model.placements[0].source) for name, model in config.models.items()] == [
        ("smollm2-135m", "demo:smollm2-135m")
    ]
    refuse_open_listener(config)


def test_a_file_without_models_serves_the_embedded_one(read):
    config = read("[server]\nport = 9000")
    assert config.server.port == 9000
    assert list(config.models) == ["smollm2-135m"]


def test_a_file_that_says_it_has_no_models_is_the_default(read):
    found = read("[models]")
    assert msgspec.structs.replace(found, file=None, named=frozenset()) == default_config()


def test_values_arrive_as_written(read):
    config = read(
        MODEL + '[models."a/b"]\nload = "first_request"\ndefaults = { temperature = 0 }\n[log]\nlevel = "debug"'
    )
    model = config.models["a/b"]
    assert model.load == "first_request"
    assert model.defaults.temperature == 0
    assert model.defaults.top_p is None
    assert config.log.level == "debug"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[server]\nport = "x"', "FILE: server.port: expected a whole number, got a string."),
        ("[server]\nport = 70000", "FILE: server.port: expected a whole number <= 65535."),
        ("[server]\nprot = 1", "FILE: server.prot: unknown key 'prot'. Did you mean 'port'?"),
        ("[sevrer]", "FILE: sevrer: unknown section 'sevrer'. Did you mean 'server'?"),
        ("server = 1", "FILE: server: expected a table, got a whole number."),
        ('[log]\nlevel = "loud"', "FILE: log.level: 'loud' is none of: debug, info, warning, error."),
        ("[server]\nidle_timeout_s = 0", "FILE: server.idle_timeout_s: expected a number > 0.0."),
        ("[server]\ncors_origins = 'x'", "FILE: server.cors_origins: expected an array, got a string."),
        ("[server]\ncors_origins = [1]", "FILE: server.cors_origins[0]: expected a string, got a whole number."),
        ('[models."a"]', "FILE: models.\"a\": the key 'placements' is missing. Add `placements = …` there."),
        ('[models."a"]\nplacements = []', 'FILE: models."a".placements: expected an array of length >= 1.'),
        (
            '[[models."a".placements]]\nbackend = "toy"\nsource = 5',
            'FILE: models."a".placements[0].source: expected a string, got a whole number.',
        ),
        (
            '[[models."a".placements]]\nbackend = "toy"\nsource = "s"\nrequire = ["cpu"]',
            "FILE: models.\"a\".placements[0].require: unknown key 'require'. Did you mean 'requires'?",
        ),
        (
            '[[models."a".placements]]\nbackend = "toy"\nsource = "s"\nrequires = ["TPU"]',
            'FILE: models."a".placements[0].requires[0]: ' + A_KIND,
        ),
        (
            MODEL + '[models."a/b".defaults]\ntemperature = 3',
            'FILE: models."a/b".defaults.temperature: expected a number <= 2.0.',
        ),
        ("models = 3", "FILE: models: expected a table, got a whole number."),
        ('[[keys]]\nname = "x"', "FILE: keys[0]: the key 'sha256' is missing. Add `sha256 = …` there."),
        ("[server]\nhost = 2026-01-01", "FILE: server.host: expected a string, got a date."),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(read, text, message):
    assert refusal(read, text).startswith(message)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[server]\nport 8000", "FILE: line 2, column 6: this is not TOML: Expected '='"),
        ("[server]\nport = 1\nport = 2", "FILE: line 3 (the end): this is not TOML: Cannot overwrite a value"),
        ("[server", "FILE: line 1 (the end): this is not TOML"),
        (b"[server]\n# \xff", "FILE: line 2: it is not UTF-8. Save it as UTF-8."),
    ],
)
def test_text_that_is_not_toml_is_refused_with_its_line(read, text, place):
    assert refusal(read, text).startswith(place)


@pytest.mark.parametrize("name", [" a", "a\\n", "", "x" * 201])
def test_a_model_id_that_no_client_could_write_is_refused(read, name):
    assert "cannot be a model ID" in refusal(read, f'[[models."{name}".placements]]\nbackend = "toy"\nsource = "s"')


def test_an_absent_file_is_refused():
    with pytest.raises(ConfigError, match=r"nowhere\.toml: there is no such file"):
        load_config("nowhere.toml")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_two_keys_of_one_name_or_one_secret_are_refused(read):
    same_name = f'[[keys]]\nname = "x"\nsha256 = "{HASH}"\n[[keys]]\nname = "x"\nsha256 = "{"b" * 64}"'
    assert "keys[1].name: a second key is called 'x'." in refusal(read, same_name)
    same_secret = f'[[keys]]\nname = "x"\nsha256 = "{HASH}"\n[[keys]]\nname = "y"\nsha256 = "{HASH}"'
    assert "keys[1].sha256: another key has the same secret." in refusal(read, same_secret)


def test_a_certificate_needs_its_key(read):
    assert "`tls_cert` and `tls_key` belong together" in refusal(read, '[server]\ntls_cert = "c.pem"')


def test_a_certificate_that_is_not_there_is_refused(read, tmp_path):
    text = '[server]\ntls_cert = "c.pem"\ntls_key = "k.pem"'
    assert "FILE: server.tls_cert: there is no file at" in refusal(read, text)
    (tmp_path / "c.pem").touch()
    (tmp_path / "k.pem").touch()
    assert read(text).server.tls_key == str(tmp_path / "k.pem")


def test_a_proxy_that_is_no_address_is_refused(read):
    text = '[server]\ntrusted_proxies = ["10.0.0.0/8", "proxy"]'
    assert "server.trusted_proxies[1]: 'proxy' is no address." in refusal(read, text)


# ---- the default is closed ----


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.5", "example.org", "", "2130706433"])
def test_a_listener_beyond_loopback_without_keys_is_refused(read, host):
    message = refusal(read, f'[server]\nhost = "{host}"')
    assert "server.host" in message
    assert "allow_unauthenticated = true" in message


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_keys(read, host):
    assert read(f'[server]\nhost = "{host}"').server.host == host


def test_beyond_loopback_keys_or_the_owners_word_are_needed(read):
    assert read(f'[server]\nhost = "0.0.0.0"\n[[keys]]\nname = "x"\nsha256 = "{HASH}"').keys[0].name == "x"
    assert read('[server]\nhost = "0.0.0.0"\nallow_unauthenticated = true').server.allow_unauthenticated


def test_a_host_given_later_is_checked_again():
    opened = msgspec.structs.replace(default_config(), server=ServerConfig(host="0.0.0.0"))
    with pytest.raises(ConfigError):
        refuse_open_listener(opened)
    refuse_open_listener(msgspec.structs.replace(opened, keys=(KeyConfig(name="x", sha256=HASH),)))


# ---- against the plugins ----


def test_options_are_decoded_into_the_backends_own_type(read):
    config = read(MODEL + "options = { threads = 4 }", quarantined={})
    assert config.models["a/b"].placements[0].options == ToyOptions(threads=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{ thread = 4 }", ".options.thread: unknown key 'thread'. Did you mean 'threads'?"),
        ("{ threads = 'x' }", ".options.threads: expected a whole number, got a string."),
        ("{ zzz = 1 }", ".options.zzz: unknown key 'zzz'. Known here: speculate, threads."),
        ("3", ".options: expected a table, got a whole number."),
    ],
)
def test_a_wrong_option_is_refused_with_its_place(read, options, message):
    found = refusal(read, MODEL + f"options = {options}", quarantined={})
    assert found == f'FILE: models."a/b".placements[0]{message}'


def test_a_backend_that_is_not_there_is_refused_with_those_that_are(read):
    text = MODEL.replace('"toy"', '"tyo"')
    found = refusal(read, text, quarantined={})
    assert found == (
        "FILE: models.\"a/b\".placements[0].backend: no plugin offers the backend 'tyo'. Did you mean 'toy'?"
    )


def test_a_backend_of_a_quarantined_plugin_is_refused_with_the_reason(read):
    text = MODEL.replace('"toy"', '"vroom"')
    assert "the plugin 'vroom' was refused: built for 9.0" in refusal(
        read, text, quarantined={"vroom": "built for 9.0"}
    )
    other = refusal(read, text, quarantined={"garage": "built for 9.0"})
    assert "The plugin 'garage' was refused: built for 9.0" in other


def test_without_any_backend_the_fix_is_to_install_one(read):
    assert "enginehouse-llamacpp" in refusal(read, MODEL, backends={})


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("weights/m.gguf", "{folder}/weights/m.gguf"),
        ("./m.gguf", "{folder}/m.gguf"),
        ("/abs/m.gguf", "/abs/m.gguf"),
        ("~no-such-user/m.gguf", "{folder}/~no-such-user/m.gguf"),
        ("hub:org/repo@main", "hub:org/repo@main"),
        ("demo:smollm2-135m", "demo:smollm2-135m"),
        ("https://example.org/v1", "https://example.org/v1"),
    ],
)
def test_a_path_is_relative_to_the_file(read, tmp_path, source, wanted):
    config = read(MODEL.replace("weights/m.gguf", source), quarantined={})
    assert config.models["a/b"].placements[0].source == wanted.format(folder=tmp_path.resolve())


def test_a_source_that_is_no_weights_stays_as_written(read):
    backends = {"toy": a_backend(needs_weights=False)}
    assert read(MODEL, backends=backends).models["a/b"].placements[0].source == "weights/m.gguf"


def test_an_interpreter_is_relative_to_the_file_and_its_links_are_kept(read, tmp_path):
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "python").symlink_to("/bin/sh")
    config = read(MODEL + 'python = "env/python"', quarantined={})
    assert config.models["a/b"].placements[0].python == str(tmp_path / "env" / "python")
    assert read(MODEL + 'python = "python3.12"', quarantined={}).models["a/b"].placements[0].python == "python3.12"


class PathOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    template_file: FilePath | None = None
    folder: FilePath = "/default"
    program: ProgramPath | None = None
    text: str = ""


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("{}", PathOptions()),
        ('{ template_file = "a/../t.jinja", text = "t.jinja" }',
         PathOptions(template_file="{folder}/t.jinja", text="t.jinja")),
        ('{ template_file = "/t.jinja", folder = "x" }', PathOptions(template_file="/t.jinja", folder="{folder}/x")),
        ('{ program = "llama-server" }', PathOptions(program="llama-server")),
        ('{ program = "bin/llama-server" }', PathOptions(program="{folder}/bin/llama-server")),
        ('{ template_file = "~no-such-user/t" }', PathOptions(template_file="{folder}/~no-such-user/t")),
    ],
)  # fmt: skip
def test_options_that_a_plugin_declares_as_paths_are_relative_to_the_file(read, tmp_path, options, wanted):
    backends = {"toy": a_backend(options=PathOptions)}
    found = read(f"{MODEL}options = {options}", backends=backends).models["a/b"].placements[0].options
    folder = str(tmp_path.resolve())
    assert msgspec.to_builtins(found) == {
        name: value and value.replace("{folder}", folder) for name, value in msgspec.to_builtins(wanted).items()
    }


def test_the_usage_file_is_relative_to_the_file(read, tmp_path):
    assert read('[usage]\npath = "usage.db"').usage.path == str(Path(tmp_path).resolve() / "usage.db")
