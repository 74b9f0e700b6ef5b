"""EMB, RRK and TOK: vectors of texts, scores of documents and tokens, what is no data of a rule."""

from __future__ import annotations

import math
from typing import Any

from enginehouse_conformance.answer import Json
from enginehouse_conformance.context import Context
from enginehouse_conformance.endpoints.caller import Caller
from enginehouse_conformance.endpoints.texts import cosine, vectors_of
from enginehouse_conformance.primitives import PAD, require_error_form
from enginehouse_conformance.registry import check
from enginehouse_conformance.targets.replies import read_refusal

from .endpoint_parts import broken_bodies_are_refused, unknown_field_is_told

_SAME = 0.999
"""Of vectors that engines compute in steps of other sizes."""
_ONE = 1e-3
_CLOSE = 1e-2
"""Of scores from 0 to 1."""
_MOST_INPUTS = 2048
_TEXTS = ("The fox is quick.", "Interest rates rose by half a percent, said {}.", "{}")
_WRITTEN = "Straße, 你好, 👍🏽 and   blanks\n\tof {}"


def _texts(ctx: Context) -> list[str]:
    return [text.format(ctx.nonce()) for text in _TEXTS]


async def _vectors(ctx: Context, **fields: Json) -> list[tuple[float, ...]]:
    caller = Caller(ctx)
    return vectors_of(await caller.raw(caller.body(**fields)))


# ---- embeddings ----


async def _has(ctx: Context, body: dict[str, Json], *keys: str) -> None:
    raw = await Caller(ctx).raw(body)
    missing = [key for key in keys if key not in raw]
    ctx.require(not missing, f"an object with {', '.join(keys)}", f"without {', '.join(missing)}")


@check("EMB1")
async def a_minimal_request_is_answered(ctx: Context) -> None:
    await _has(ctx, {"input": ctx.topic()}, "object", "data", "model", "usage")


@check("EMB2")
async def entries_are_in_the_order_of_inputs(ctx: Context) -> None:
    raw = await Caller(ctx).raw({"input": _texts(ctx)})
    ctx.equal(raw["object"], "list", "object")
    shown = [(one.get("object"), one.get("index")) for one in raw["data"]]
    ctx.equal(shown, [("embedding", at) for at in range(len(_TEXTS))], "entries")


@check("EMB3")
async def vectors_are_finite_and_as_long(ctx: Context) -> None:
    made = await _vectors(ctx, input=_texts(ctx))
    ctx.equal(len({len(one) for one in made}), 1, "lengths of vectors")
    ctx.require(all(map(math.isfinite, (number for one in made for number in one))), "finite numbers", made[0][:4])


@check("EMB4")
async def vectors_are_of_length_one(ctx: Context) -> None:
    for one in await _vectors(ctx, input=_texts(ctx)):
        ctx.require(abs(math.hypot(*one) - 1) < _ONE, "a length of 1", math.hypot(*one))


@check("EMB5")
async def a_text_has_its_vector_beside_others(ctx: Context) -> None:
    texts = _texts(ctx)
    for text, beside in zip(texts, await _vectors(ctx, input=texts), strict=True):
        (alone,) = await _vectors(ctx, input=text)
        alike = cosine(alone, beside)
        ctx.require(alike > _SAME, f"the same vector of {text!r} alone and beside others", f"a cosine of {alike:.4f}")


@check("EMB6")
async def different_texts_differ(ctx: Context) -> None:
    made = await _vectors(ctx, input=_texts(ctx))
    ctx.require(made[0] != made[1] != made[2] != made[0], "three vectors", "equal ones")


@check("EMB7")
async def base64_holds_the_same_numbers(ctx: Context) -> None:
    text = ctx.topic()
    caller = Caller(ctx)
    raw = await caller.raw({"input": text, "encoding_format": "base64"})
    ctx.require(isinstance(raw["data"][0].get("embedding"), str), "text in base64", raw["data"][0].get("embedding"))
    (plain,) = await _vectors(ctx, input=text, encoding_format="float")
    alike = cosine(vectors_of(raw)[0], plain)
    ctx.require(alike > _SAME, "the same numbers in base64 and as floats", f"a cosine of {alike:.4f}")


@check("EMB8")
async def numbers_are_the_default(ctx: Context) -> None:
    raw = await Caller(ctx).raw({"input": ctx.topic()})
    ctx.require(isinstance(raw["data"][0].get("embedding"), list), "an array", raw["data"][0].get("embedding"))


@check("EMB9")
async def tokens_are_an_input(ctx: Context) -> None:
    one = await _vectors(ctx, input=[5, 6, 7])
    several = await _vectors(ctx, input=[[5, 6, 7], [8, 9]])
    ctx.equal([len(one), len(several)], [1, 2], "vectors of a list of tokens, and of two lists")
    ctx.require(cosine(one[0], several[0]) > _SAME, "the same vector of the same tokens", "another")
    ctx.require(several[0] != several[1], "another vector of other tokens", "the same")


@check("EMB10")
async def usage_is_the_sum(ctx: Context) -> None:
    caller, texts = Caller(ctx), _texts(ctx)
    counts = []
    for given in (texts, *texts):
        usage = (await caller.raw({"input": given})).get("usage") or {}
        ctx.require(type(usage.get("prompt_tokens")) is int and usage["prompt_tokens"] > 0, "prompt_tokens", usage)
        ctx.equal(usage.get("total_tokens"), usage["prompt_tokens"], "total_tokens")
        counts.append(usage["prompt_tokens"])
    ctx.equal(counts[0], sum(counts[1:]), "prompt_tokens of all inputs")


@check("EMB11")
async def a_list_of_one_is_one(ctx: Context) -> None:
    text = ctx.topic()
    made = await _vectors(ctx, input=[text])
    ctx.equal(len(made), 1, "vectors of a list of one text")
    ctx.require(cosine(made[0], (await _vectors(ctx, input=text))[0]) > _SAME, "the vector of the text", "another")


@check("EMB20")
async def too_many_inputs_are_refused(ctx: Context) -> None:
    await Caller(ctx).refused({"input": ["a"] * (_MOST_INPUTS + 1)}, "input")


@check("EMB23")
async def dimensions_are_honoured_or_refused(ctx: Context) -> None:
    caller = Caller(ctx)
    (whole,) = await _vectors(ctx, input=ctx.topic())
    for wanted in (len(whole), max(1, len(whole) // 2), len(whole) + 1):
        reply = await caller.post({"input": ctx.topic(), "dimensions": wanted})
        if reply.status == 200:
            ctx.equal(len(vectors_of(reply.json())[0]), wanted, f"numbers of a vector with dimensions {wanted}")
            continue
        ctx.equal(reply.status, 400, f"status of a refusal of dimensions {wanted}")
        refusal = read_refusal(reply.status, reply.json(), "")
        ctx.require(refusal.names("dimensions"), "a refusal that names dimensions", str(refusal))


# ---- reranking ----

_DOCUMENTS = ("Pandas eat bamboo.", "Paris is in France.", "The fox is quick and the dog is lazy, {} says.")


async def _scores(ctx: Context, **fields: Json) -> dict[int, float]:
    """The scores by index, in the order of the answer."""
    return {one["index"]: one["relevance_score"] for one in await _results(ctx, **fields)}


async def _results(ctx: Context, **fields: Json) -> list[dict[str, Any]]:
    caller = Caller(ctx)
    raw = await caller.raw({"query": "What do pandas eat?", "documents": list(_DOCUMENTS), **fields})
    results: list[dict[str, Any]] = raw["results"]
    return results


@check("RRK1")
async def results_have_their_form(ctx: Context) -> None:
    results = await _results(ctx)
    ctx.require(bool(results), "results", "none")
    for one in results:
        good = type(one.get("index")) is int and type(one.get("relevance_score")) in (int, float)
        ctx.require(good, "index and relevance_score", one)


@check("RRK2")
async def the_best_come_first(ctx: Context) -> None:
    results = await _results(ctx)
    ctx.equal(sorted(one["index"] for one in results), list(range(len(_DOCUMENTS))), "indices")
    scores = [one["relevance_score"] for one in results]
    ctx.equal(scores, sorted(scores, reverse=True), "scores")
    moved = await _scores(ctx, documents=[_DOCUMENTS[one["index"]] for one in reversed(results)])
    ctx.equal(next(iter(moved)), len(_DOCUMENTS) - 1, "the first index, where the best document is the last")


@check("RRK3")
async def top_n_are_the_best(ctx: Context) -> None:
    all_of_them = list(await _scores(ctx))
    for wanted in (1, 2, 9):
        ctx.equal(list(await _scores(ctx, top_n=wanted)), all_of_them[:wanted], f"indices with top_n {wanted}")


@check("RRK4")
async def documents_are_returned(ctx: Context) -> None:
    for one in await _results(ctx, return_documents=True):
        shown = one.get("document")
        text = shown.get("text") if isinstance(shown, dict) else shown
        ctx.equal(text, _DOCUMENTS[one["index"]], "the text of a document")


async def _require_close(ctx: Context, seen: dict[int, float], expected: dict[int, float], what: str) -> None:
    for at, score in expected.items():
        ctx.require(abs(seen[at] - score) < _CLOSE, f"the score {score:.4f} of {what}", seen[at])


@check("RRK5")
async def objects_are_documents(ctx: Context) -> None:
    seen = await _scores(ctx, documents=[{"text": text} for text in _DOCUMENTS])
    await _require_close(ctx, seen, await _scores(ctx), "the text itself")


@check("RRK6")
async def a_document_has_its_score_beside_others(ctx: Context) -> None:
    together = await _scores(ctx)
    backwards = await _scores(ctx, documents=list(reversed(_DOCUMENTS)))
    last = len(_DOCUMENTS) - 1
    await _require_close(ctx, {last - at: score for at, score in backwards.items()}, together, "the document elsewhere")
    alone = {at: (await _scores(ctx, documents=[text]))[0] for at, text in enumerate(_DOCUMENTS)}
    await _require_close(ctx, alone, together, "the document beside others")


@check("RRK7")
async def scores_are_shares(ctx: Context) -> None:
    scores = (await _scores(ctx)).values()
    ctx.require(all(0 <= score <= 1 for score in scores), "scores from 0 to 1", list(scores))


@check("RRK8")
async def the_query_matters(ctx: Context) -> None:
    one, other = await _scores(ctx), await _scores(ctx, query=f"Which animal says {ctx.nonce()}?")
    ctx.require(any(one[at] != other[at] for at in one), "other scores for another query", one)


@check("RRK9")
async def usage_grows_with_documents(ctx: Context) -> None:
    caller = Caller(ctx)
    counts = []
    for documents in (list(_DOCUMENTS)[:1], list(_DOCUMENTS)):
        raw = await caller.raw(caller.body(documents=documents))
        counts.append((raw.get("usage") or {}).get("total_tokens"))
    ctx.require(all(type(count) is int and count > 0 for count in counts), "total_tokens", counts)
    ctx.require(int(counts[1] or 0) > int(counts[0] or 0), "more total_tokens with more documents", counts)


# ---- tokens ----


async def _tokenized(ctx: Context, **fields: Json) -> dict[str, Any]:
    return await Caller(ctx).raw(fields)


@check("TOK1")
async def a_prompt_has_tokens(ctx: Context) -> None:
    await _has(ctx, {"prompt": ctx.topic()}, "count", "max_model_len", "tokens")


@check("TOK2")
async def the_count_is_that_of_the_tokens(ctx: Context) -> None:
    for prompt in (ctx.topic(), _WRITTEN.format(ctx.nonce())):
        told = await _tokenized(ctx, prompt=prompt)
        ctx.equal(told["count"], len(told["tokens"]), "count")
        ctx.require(all(type(token) is int and token >= 0 for token in told["tokens"]), "token ids", told["tokens"])
        ctx.require(told["count"] > 1, "more than one token", told["tokens"])


async def _detokenized(ctx: Context, tokens: Json) -> Any:
    return await Caller(ctx).at("POST", "/detokenize", {"model": ctx.target.model, "tokens": tokens})


@check("TOK3")
async def tokens_are_the_text(ctx: Context) -> None:
    for prompt in (ctx.topic(), _WRITTEN.format(ctx.nonce())):
        tokens = (await _tokenized(ctx, prompt=prompt, add_special_tokens=False))["tokens"]
        reply = await _detokenized(ctx, tokens)
        ctx.equal(reply.status, 200, "status of detokenize")
        ctx.equal(reply.json().get("prompt"), prompt, "the text of the tokens of a text")


@check("TOK4")
async def a_conversation_is_counted_as_on_chat(ctx: Context) -> None:
    text = ctx.topic()
    for content in (text, f"{PAD}{text}{PAD}"):
        messages = [{"role": "user", "content": content}]
        counted = (await ctx.ask(ctx.body(messages=messages, max_tokens=1))).prompt_tokens
        ctx.equal((await _tokenized(ctx, messages=messages))["count"], counted, "the count of a conversation")


@check("TOK5")
async def tokens_have_texts(ctx: Context) -> None:
    prompt = ctx.topic()
    told = await _tokenized(ctx, prompt=prompt, add_special_tokens=False, return_token_strs=True)
    shown = told.get("token_strs") or []
    ctx.equal(len(shown), told["count"], "texts of tokens")
    ctx.equal("".join(shown), prompt, "the text that they make up")


@check("TOK10")
async def tokens_of_no_model_are_refused(ctx: Context) -> None:
    for tokens in ([-1], ["a"], "a", [2147483000]):
        reply = await _detokenized(ctx, tokens)
        ctx.equal(reply.status, 400, f"status for the tokens {tokens}")
        refusal = read_refusal(reply.status, reply.json(), "")
        ctx.require(refusal.names("tokens"), "a refusal that names tokens", str(refusal))


# ---- all three ----


async def errors_have_their_form(ctx: Context) -> None:
    caller = Caller(ctx)
    wrong: dict[str, Json] = dict.fromkeys(caller.body(), 7)
    require_error_form(ctx, await caller.post(wrong))


for _section, _first in (("EMB", 25), ("RRK", 19), ("TOK", 11)):
    check(f"{_section}{_first}")(broken_bodies_are_refused)
    check(f"{_section}{_first + 1}")(unknown_field_is_told)
    check(f"{_section}{_first + 2}")(errors_have_their_form)
