"""Faults of vectors, scores and tokens."""

from __future__ import annotations

from conformance_stub.faults import decoding, drop, fault, faults_of_cases, inside, put

EMB, RRK, TOK = "embeddings", "rerank", "tokenize"

for _section in ("EMB", "RRK", "TOK"):
    faults_of_cases(_section, but=("EMB24", "RRK18", "TOK6", "TOK7"))


def _of_vectors(edit):
    """*edit* on each vector that is an array, with its place."""

    def change(raw):
        data = [
            {**one, "embedding": edit(one["index"], one["embedding"]) if isinstance(one["embedding"], list) else
             one["embedding"]}
            for one in raw["data"]
        ]  # fmt: skip
        return {**raw, "data": data}

    return change


def _cut(body):
    if isinstance(body.get("input"), str):
        body["input"] = body["input"][:1000]


def _cut_documents(body):
    if isinstance(body.get("documents"), list):
        body["documents"] = [one[:1000] if isinstance(one, str) else one for one in body["documents"]]


def _backwards(raw):
    return {**raw, "data": [{**one, "index": at} for at, one in enumerate(reversed(raw["data"]))]}


def _unbroken(**right):
    return decoding(model="stub-1", **right)


def _without_unknown(body):
    for name in list(body):
        if name.startswith("x_"):
            del body[name]


def _of_results(edit):
    return inside("results", edit)


def _first_tokens_alone(body):
    if isinstance(body.get("input"), list) and isinstance(body["input"][0], list):
        body["input"] = body["input"][:1]


fault(EMB, "The answer has no usage.", "EMB1", answer=drop("usage"), may_kill=("EMB*",))
fault(EMB, "Each vector has the index 0.", "EMB2", answer=inside("data", put(index=0)))
fault(EMB, "Later vectors are shorter.", "EMB3", answer=_of_vectors(lambda at, one: one[: len(one) - at]),
      may_kill=("EMB*",))  # fmt: skip
fault(EMB, "Vectors are twice as long.", "EMB4", answer=_of_vectors(lambda at, one: [2 * number for number in one]))
fault(EMB, "Vectors come in another order.", "EMB5", answer=_backwards, may_kill=("EMB*",))
fault(EMB, "All vectors are the first.", "EMB6",
      answer=lambda raw: {**raw, "data": [{**raw["data"][0], "index": one["index"]} for one in raw["data"]]},
      may_kill=("EMB*",))  # fmt: skip
fault(EMB, "The encoding is not read.", "EMB7", check=lambda body: body.update(encoding_format="float"),
      may_kill=("EMB21",))  # fmt: skip
fault(EMB, "Base64 is the default.", "EMB8", check=lambda body: body.setdefault("encoding_format", "base64"))
fault(EMB, "Of several lists of tokens the first counts.", "EMB9", check=_first_tokens_alone)
fault(EMB, "Usage is that of the first input.", "EMB10", answer=inside("usage", put(prompt_tokens=3, total_tokens=3)))
fault(EMB, "A list of one text is read as its letters.", "EMB11",
      check=lambda body: body.update(input=list(body["input"][0][:9]))
      if isinstance(body.get("input"), list) and len(body["input"]) == 1 and isinstance(body["input"][0], str)
      else None, may_kill=("EMB*",))  # fmt: skip
fault(EMB, "Inputs beyond the most are dropped.", "EMB20",
      check=lambda body: isinstance(body.get("input"), list) and body.update(input=body["input"][:9]))  # fmt: skip
fault(EMB, "Dimensions are not read.", "EMB23", check=lambda body: body.pop("dimensions", None), may_kill=("EMB22",))
fault(EMB, "An input that is too long is cut.", "EMB24", check=_cut)
fault(EMB, "A body that is no JSON is an empty one.", "EMB25", decode=_unbroken(input="a"))
fault(EMB, "Unknown fields are dropped in silence.", "EMB26", check=_without_unknown)
fault(EMB, "Errors are flat.", "EMB27", error=lambda raw: raw["error"], may_kill=("EMB*",))

fault(RRK, "Results have a score by another name.", "RRK1",
      answer=_of_results(lambda one: {"index": one["index"], "score": one["relevance_score"]}),
      may_kill=("RRK*",))  # fmt: skip
fault(RRK, "Results come in the order of documents.", "RRK2",
      answer=lambda raw: {**raw, "results": sorted(raw["results"], key=lambda one: one["index"])},
      may_kill=("RRK*",))  # fmt: skip
fault(RRK, "The number of results is not read.", "RRK3", check=lambda body: body.pop("top_n", None),
      may_kill=("RRK17",))  # fmt: skip
fault(RRK, "No document is returned.", "RRK4", check=lambda body: body.pop("return_documents", None))
fault(RRK, "Objects are read as what they look like.", "RRK5",
      check=lambda body: body.update(documents=[str(one) * 9 if isinstance(one, dict) else one
                                                for one in body["documents"]])
      if isinstance(body.get("documents"), list) else None, may_kill=("RRK*",))  # fmt: skip
fault(RRK, "The first result has all of the score.", "RRK6",
      answer=lambda raw: {**raw, "results": [{**one, "relevance_score": 1.0 if not at else 0.0}
                                             for at, one in enumerate(raw["results"])]},
      may_kill=("RRK*",))  # fmt: skip
fault(RRK, "Scores are logits.", "RRK7",
      answer=_of_results(lambda one: {**one, "relevance_score": 20 * one["relevance_score"] - 10}),
      may_kill=("RRK6",))  # fmt: skip
fault(RRK, "The query is not read.", "RRK8",
      check=lambda body: body.update(query="a") if isinstance(body.get("query"), str) else None,
      may_kill=("RRK*",))  # fmt: skip
fault(RRK, "Usage counts nothing.", "RRK9", answer=put(usage={"total_tokens": 0}))
fault(RRK, "A document that is too long is cut.", "RRK18", check=_cut_documents)
fault(RRK, "A body that is no JSON is an empty one.", "RRK19", decode=_unbroken(query="a", documents=["a"]))
fault(RRK, "Unknown fields are dropped in silence.", "RRK20", check=_without_unknown)
fault(RRK, "Errors are flat.", "RRK21", error=lambda raw: raw["error"], may_kill=("RRK*",))

fault(TOK, "The context is not told.", "TOK1", answer=drop("max_model_len"))
fault(TOK, "The count is one more.", "TOK2", answer=lambda raw: {**raw, "count": raw["count"] + 1},
      may_kill=("TOK*",))  # fmt: skip
fault("detokenize", "Texts are trimmed.", "TOK3", answer=lambda raw: {"prompt": " ".join(raw["prompt"].split())})
fault(TOK, "Only the last message is counted.", "TOK4",
      check=lambda body: body.update(messages=[{"role": "user", "content": "Hi"}])
      if isinstance(body.get("messages"), list) and "prompt" not in body else None)  # fmt: skip
fault(TOK, "Tokens have no texts.", "TOK5", answer=drop("token_strs"))
fault("detokenize", "Tokens of no model are left out.", "TOK10",
      check=lambda body: body.update(tokens=[one for one in body["tokens"] if one in range(256)]))  # fmt: skip
fault(TOK, "Nothing is taken for an empty prompt.", "TOK6",
      check=lambda body: "messages" in body or body.setdefault("prompt", ""))  # fmt: skip
fault(TOK, "Messages beside a prompt are dropped.", "TOK7",
      check=lambda body: "prompt" in body and body.pop("messages", None))  # fmt: skip
fault(TOK, "A body that is no JSON is an empty one.", "TOK11", decode=_unbroken(prompt="a"))
fault(TOK, "Unknown fields are dropped in silence.", "TOK12", check=_without_unknown)
fault(TOK, "Errors are flat.", "TOK13", error=lambda raw: raw["error"], may_kill=("TOK*",))
