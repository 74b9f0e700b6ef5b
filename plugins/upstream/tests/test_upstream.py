"""What goes to an upstream and comes from it, on both ways: plain HTTP, and TLS by httpx2."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse_kit.http.openai import encode
from enginehouse_plugin import (
    AssistantMessage,
    Chat,
    Finished,
    GenerationRequest,
    Measured,
    Started,
    Text,
    TextDelta,
    TokenizeRequest,
    UsageReport,
    UserMessage,
)
from enginehouse_plugin.errors import (
    EngineFailure,
    EngineUnavailable,
    InvalidRequest,
    LoadFailed,
    UnsupportedFeature,
)
from enginehouse_upstream.address import read_address
from enginehouse_upstream.backend import UpstreamBackend
from enginehouse_upstream.dialect import UpstreamDialect
from enginehouse_upstream.options import UpstreamOptions
from enginehouse_upstream.servers import KINDS

from .conftest import CARD, Upstream, place

CHAT = "/v1/chat/completions"


def ask(**fields: Any) -> GenerationRequest:
    return GenerationRequest(id="r", prompt=Chat((UserMessage("Hi"),)), **{"stream": True, **fields})


def delta(content: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}


def total(prompt: int, completion: int) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {"choices": [], "usage": counts}


async def events(instance: Any, request: GenerationRequest) -> list[Any]:
    return [event async for event in instance.generate(request)]


# ---- loading ----


async def test_a_stream_comes_as_events_and_its_connection_is_used_again(upstream: Upstream, load: Any) -> None:
    upstream.say(delta("He"), delta("llo", "stop"), total(3, 2))
    instance = await load(upstream)
    wanted = [Started(), TextDelta(0, "He", 1), TextDelta(0, "llo", 2), Finished(0, "stop"), UsageReport(3, 2)]
    for _ in range(3):
        assert await events(instance, ask(max_tokens=5)) == wanted
    assert upstream.bodies[-1]["model"] == "m"
    assert upstream.bodies[-1]["stream_options"] == {"include_usage": True}
    assert upstream.connections == 1


async def test_the_stop_string_that_matched_is_told_and_other_words_in_its_place_are_not(
    upstream: Upstream, load: Any
) -> None:
    instance = await load(upstream)
    for told, matched in [("END", "END"), ("eos", None), (7, None)]:
        upstream.say({"choices": [{**delta("He", "stop")["choices"][0], "stop_reason": told}]}, total(3, 1))
        *_, finished, _ = await events(instance, ask(stop=("x", "END")))
        assert finished == Finished(0, "stop", matched)


async def test_what_another_enginehouse_leaves_to_the_model_is_told_and_of_other_servers_nothing(
    upstream: Upstream, load: Any
) -> None:
    named = b"X-Enginehouse-Ignored: tools%5B0%5D/a%2Cb, seed, +2\r\n"
    upstream.say(delta("He", "stop"), total(3, 1), named=named)
    assert (await events(await load(upstream), ask()))[0] == Started()
    upstream.cards = [{**CARD, "declared_features": ["streaming"], "features": ["streaming"]}]
    assert (await events(await load(upstream), ask()))[0] == Started(ignored=("tools[0]/a,b", "seed", "+2"))


async def test_the_load_that_another_host_tells_with_its_answers_is_measured(upstream: Upstream, load: Any) -> None:
    instance = await load(upstream, from_host="here")
    assert isinstance(instance, Measured)
    assert (await instance.measure()).told_at is None
    for named, told in [
        (b"X-Enginehouse-Load: running=3, waiting=1\r\n", (3, 1)),
        (b"x-enginehouse-load: running=-1, waiting=lots\r\n", (3, 1)),
        (b"x-enginehouse-load: running=0, waiting=0\r\n", (0, 0)),
    ]:
        upstream.say(delta("He", "stop"), total(3, 1), named=named)
        await events(instance, ask(max_tokens=5))
        measured = await instance.measure()
        assert (measured.running, measured.waiting) == told
        assert measured.told_at is not None
    plain = await load(upstream)
    upstream.say(delta("He", "stop"), total(3, 1), named=b"x-enginehouse-load: running=3, waiting=1\r\n")
    await events(plain, ask(max_tokens=5))
    assert (await plain.measure()).told_at is None, "who is no host of ours is not believed"


async def test_the_key_goes_with_every_request_and_is_never_shown(
    upstream: Upstream, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", "secret-key")
    upstream.answers[CHAT] = (401, {"error": {"message": "Incorrect API key provided: secret-key"}})
    instance = await load(upstream, key_env="THEIR_KEY")
    with pytest.raises(EngineFailure, match="does not know our key") as refused:
        await events(instance, ask())
    assert "secret" not in refused.value.message
    assert "secret" not in repr(instance._client)
    assert {headers["authorization"] for headers in upstream.headers} == {"Bearer secret-key"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        ({"key_file": "/absent/key"}, "key_file"),
        ({"model": "other"}, "has no model 'other'; set the option model to one of 'm'"),
    ],
)
async def test_what_cannot_work_fails_the_load_with_the_fix(
    upstream: Upstream, load: Any, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(LoadFailed, match=told):
        await load(upstream, **options)


async def test_a_key_file_is_read_without_the_end_of_its_line(upstream: Upstream, load: Any, tmp_path: Any) -> None:
    (tmp_path / "key").write_text("from-file\n")
    await load(upstream, key_file=str(tmp_path / "key"))
    assert upstream.headers[0]["authorization"] == "Bearer from-file"


async def test_a_context_is_what_the_server_tells_or_the_owner_says_never_more(upstream: Upstream, load: Any) -> None:
    assert (await load(upstream)).capabilities.context_tokens == 512
    assert (await load(upstream, context_tokens=256)).capabilities.context_tokens == 256
    with pytest.raises(LoadFailed, match="give 512 or less"):
        await load(upstream, context_tokens=1024)
    upstream.cards = [{"id": "m"}]
    with pytest.raises(LoadFailed, match="set context_tokens"):
        await load(upstream)


@pytest.mark.parametrize(("status", "told"), [(401, "wants a key"), (500, "status 500")])
async def test_a_server_that_does_not_tell_its_models_is_refused(
    upstream: Upstream, load: Any, status: int, told: str
) -> None:
    upstream.answers["/v1/models"] = (status, {})
    with pytest.raises(LoadFailed, match=told):
        await load(upstream)


async def test_a_server_without_a_list_of_models_needs_a_path_for_its_health(upstream: Upstream, load: Any) -> None:
    upstream.answers["/v1/models"] = (404, {})
    upstream.answers["/up"] = (200, {})
    with pytest.raises(LoadFailed, match="health_path"):
        await load(upstream, context_tokens=64)
    await (await load(upstream, context_tokens=64, health_path="/up")).check_ready()
    assert upstream.paths[-1] == "/up"


# ---- what is declared and sent ----


async def test_features_are_those_that_the_kind_of_server_is_known_for(upstream: Upstream, load: Any) -> None:
    assert (await load(upstream)).capabilities.features == {"streaming", "stop"}
    upstream.cards = [{**CARD, "owned_by": "vllm", "max_model_len": 4096}]
    assert {"logprobs", "top_k", "n"} <= (await load(upstream)).capabilities.features
    upstream.cards = [{**CARD, "declared_features": ["tools"], "features": ["tools"], "limits": {"n": 4}}]
    instance = await load(upstream)
    assert (instance.capabilities.features, instance.capabilities.limits) == ({"tools"}, {"n": 4})
    assert (await load(upstream, features=("seed",))).capabilities.features == {"seed"}
    with pytest.raises(UnsupportedFeature):
        await events(instance, ask(seed=1, stream=False))


def body(server: str, request: GenerationRequest, **options: Any) -> dict[str, Any]:
    made = UpstreamDialect(KINDS[server], "/v1", UpstreamOptions(**options), 512, "it")
    found: dict[str, Any] = json.loads(encode(made.body_of(request, "m")))
    return found


def test_defaults_of_the_server_never_apply() -> None:
    sent = body("llamacpp", ask(repetition_penalty=1.5, seed=2**40 + 7))
    assert sent["samplers"] == ["penalties", "temperature", "min_p", "top_k", "top_p"]
    assert (sent["top_k"], sent["min_p"], sent["repeat_penalty"], sent["repeat_last_n"]) == (0, 0.0, 1.5, 512)
    assert "repetition_penalty" not in sent
    assert sent["seed"] == (2**40 + 7) % (2**32 - 256)
    assert body("vllm", ask(top_k=5))["top_k"] == 5
    assert body("vllm", ask())["repetition_penalty"] == 1.0
    assert not {"top_k", "min_p", "samplers"} & body("openai", ask()).keys()


def test_a_refusal_said_earlier_is_content_to_servers_that_know_none() -> None:
    prompt = Chat((UserMessage("Hi"), AssistantMessage(refusal="No."), AssistantMessage("Yes.")))
    request = GenerationRequest(id="r", prompt=prompt)
    assert body("llamacpp", request)["messages"][1:] == [
        {"role": "assistant", "content": "No."},
        {"role": "assistant", "content": "Yes."},
    ]
    assert body("openai", request)["messages"][1] == {"role": "assistant", "refusal": "No."}


async def test_a_token_that_is_not_in_the_vocabulary_is_refused_where_its_size_is_known(
    upstream: Upstream, load: Any
) -> None:
    upstream.cards = [{**CARD, "owned_by": "llamacpp", "meta": {"n_vocab": 100, "n_ctx": 512}}]
    instance = await load(upstream)
    with pytest.raises(InvalidRequest, match="0 to 99"):
        await events(instance, ask(logit_bias={100: 1.0}))


def test_a_limit_beyond_the_context_means_up_to_the_context() -> None:
    assert body("openai", ask(max_tokens=511))["max_tokens"] == 511
    assert "max_tokens" not in body("openai", ask(max_tokens=512))
    assert body("openai", ask(max_tokens=512, max_tokens_must_fit=True))["max_tokens"] == 512
    sent = body("openai", ask(max_tokens=5), max_tokens_field="max_completion_tokens")
    assert (sent["max_completion_tokens"], "max_tokens" in sent) == (5, False)


# ---- what is asked beside ----


async def test_health_is_asked_again_only_when_it_is_old_or_something_failed(upstream: Upstream, load: Any) -> None:
    instance = await load(upstream)
    before = len(upstream.paths)
    for _ in range(3):
        await instance.check_ready()
    assert len(upstream.paths) == before + 1
    upstream.answers[CHAT] = (500, {})
    with pytest.raises(EngineFailure):
        await events(instance, ask())
    upstream.answers["/v1/models"] = (500, {})
    with pytest.raises(EngineUnavailable, match="status 500"):
        await instance.check_ready()


async def test_a_server_that_is_gone_cannot_be_loaded(upstream: Upstream, load: Any) -> None:
    upstream.url = upstream.url.rsplit(":", 1)[0] + ":1"
    with pytest.raises(LoadFailed, match="does not answer"):
        await load(upstream)


async def test_tokens_are_counted_by_asking_for_one(upstream: Upstream, load: Any) -> None:
    instance = await load(upstream)
    message = {"index": 0, "message": {"content": "x"}, "finish_reason": "length"}
    upstream.answers[CHAT] = (200, {"choices": [message], "usage": {"prompt_tokens": 7, "completion_tokens": 1}})
    assert await instance.count_tokens(ask(n=3)) == 7
    assert upstream.bodies[-1]["max_tokens"] == 1


# ---- identity ----


async def test_another_server_or_answer_has_another_identity(upstream: Upstream) -> None:
    message = {"index": 0, "message": {"content": "1 2"}, "finish_reason": "length"}
    upstream.answers[CHAT] = (200, {"choices": [message]})
    first = await UpstreamBackend().identity(place(upstream))
    assert first == {"server": "scripted", "model": "m 512", "answer": "1 2"}
    assert await UpstreamBackend().identity(place(upstream)) == first
    message["message"] = {"content": "uno"}
    assert (await UpstreamBackend().identity(place(upstream)))["answer"] == "uno"
    assert "answer" not in await UpstreamBackend().identity(place(upstream, identity_request=False))


# ---- addresses ----


@pytest.mark.parametrize(
    ("source", "origin", "prefix"),
    [
        ("http://host:8000", "http://host:8000", "/v1"),
        ("https://api.example.com/v1/", "https://api.example.com", "/v1"),
        ("https://example.com/api/openai", "https://example.com", "/api/openai"),
        ("http://[::1]:9", "http://[::1]:9", "/v1"),
    ],
)
def test_an_address_is_read(source: str, origin: str, prefix: str) -> None:
    address = read_address(source)
    assert (address.origin, address.prefix) == (origin, prefix)


@pytest.mark.parametrize(
    "source", ["host:8000", "ftp://host", "http://", "http://a b", "http://host?x=1", "http://host:99999"]
)
def test_what_is_no_address_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="source"):
        read_address(source)


def test_a_secret_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="key_env") as refused:
        read_address("https://user:hidden@host")
    assert "hidden" not in str(refused.value)
    with pytest.raises(ValueError, match="HTTPS_PROXY"):
        UpstreamOptions(proxy="http://user:hidden@proxy:3128")


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        UpstreamOptions(key_env="A", key_file="b")
    with pytest.raises(ValueError, match="'telepathy' is none"):
        UpstreamOptions(features=("telepathy",))


# ---- tokens ----


async def test_tokens_are_asked_of_a_server_that_tells_them(upstream: Upstream, load: Any) -> None:
    instance = await load(upstream)
    told = {"count": 2, "max_model_len": 512, "tokens": [5, 7], "token_strs": ["a", "b"]}
    upstream.answers["/tokenize"] = (200, told)
    text = GenerationRequest(id="r", prompt=Text("ab"))
    shown = await instance.tokenize_prompt(TokenizeRequest(request=text, special=False, texts=True))
    assert (shown.token_ids, shown.texts) == ((5, 7), ("a", "b"))
    assert upstream.bodies[-1] == {
        "model": upstream.bodies[-1]["model"],
        "prompt": "ab",
        "add_special_tokens": False,
        "return_token_strs": True,
    }
    upstream.answers["/tokenize"] = (200, told)
    assert (await instance.tokenize_prompt(TokenizeRequest(request=ask()))).texts is None
    assert upstream.bodies[-1]["messages"] == [{"role": "user", "content": "Hi"}]
    upstream.answers["/detokenize"] = (200, {"prompt": "ab"})
    assert await instance.detokenize((5, 7)) == "ab"
    assert upstream.bodies[-1]["tokens"] == [5, 7]


@pytest.mark.parametrize("told", [{"tokens": []}, {}, None])
async def test_a_server_that_tells_no_tokens_is_named(upstream: Upstream, load: Any, told: Any) -> None:
    instance = await load(upstream)
    if told is not None:
        upstream.answers["/tokenize"] = (200, told)
        upstream.answers["/detokenize"] = (200, told)
    with pytest.raises(UnsupportedFeature, match="/tokenize"):
        await instance.tokenize_prompt(TokenizeRequest(request=ask()))
    with pytest.raises(UnsupportedFeature, match="/detokenize"):
        await instance.detokenize((5, 7))
