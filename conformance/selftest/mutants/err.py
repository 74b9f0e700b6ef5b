"""Faults of errors and of the models routes."""

from __future__ import annotations

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant


@mutant(kills=("ERR1",), may_kill=("ERR2", "ERR9", "ERR14", "MSG9"), origin="SGLang#33504: the error's fields lie flat")
class FlatErrors(Behaviour):
    """The error's fields are not under `error`."""

    def error(self, status, error, headers):
        return status, error["error"], headers


@mutant(kills=("ERR1", "ERR17"), may_kill=("ERR9", "ERR14"), origin="llama-server: no param")
class LeavesOutParam(Behaviour):
    """Errors have no param."""

    def error(self, status, error, headers):
        return status, {"error": {k: v for k, v in error["error"].items() if k != "param"}}, headers


@mutant(kills=("ERR2",), origin="vLLM: code is the status as an integer")
class CodeIsAnInteger(Behaviour):
    """`code` is the status as an integer."""

    def error(self, status, error, headers):
        return status, {"error": {**error["error"], "code": status}}, headers


@mutant(kills=("ERR3", "ERR4", "ERR5"), may_kill=("ERR1",), origin="llama-server: bad JSON is a 500")
class BadJsonIs500(Behaviour):
    """A body that is no JSON gives 500."""

    def decode(self, data):
        try:
            return super().decode(data)
        except Rejected as exc:
            exc.status = 500
            raise


@mutant(kills=("ERR4",))
class RepairsUtf8(Behaviour):
    """Bytes that are not UTF-8 are replaced."""

    def decode(self, data):
        return super().decode(data.decode("utf-8", "replace").encode())


@mutant(kills=("ERR5",))
class DeepBodiesGive500(Behaviour):
    """A deep body is an internal error."""

    def decode(self, data):
        if data.count(b"[") > 5000:
            raise Rejected("maximum recursion depth exceeded", status=500)
        return super().decode(data)


@mutant(kills=("ERR6",), may_kill=("LEN9", "LEN21"))
class OversizeBodiesGive500(Behaviour):
    """A body over the limit is an internal error."""

    def error(self, status, error, headers):
        return 500 if status == 413 else status, error, headers


@mutant(kills=("ERR7",))
class TakesAnyKey(Behaviour):
    """Keys are not checked."""

    def check_key(self, authorization, key):
        return None


@mutant(kills=("ERR7",))
class AnswersAWrongKeyWith403(Behaviour):
    """A wrong key gives 403."""

    def check_key(self, authorization, key):
        try:
            super().check_key(authorization, key)
        except Rejected as exc:
            exc.status = 403
            raise


@mutant(kills=("ERR8",), origin="llama-server: any model is answered")
class AnswersForAnyModel(Behaviour):
    """The model's name is not looked at."""

    def check_fields(self, body, profile):
        super().check_fields({**body, "model": self.model} if isinstance(body.get("model"), str) else body, profile)


@mutant(kills=("ERR9",))
class FaultsBecomeTimeouts(Behaviour):
    """What fails behind it is told as 404."""

    def error(self, status, error, headers):
        is_fault = str(error["error"]["code"]).startswith("fault_")
        return 404 if is_fault else status, error, headers


@mutant(kills=("ERR10",))
class DropsRetryAfter(Behaviour):
    """Retry-After gets lost."""

    def error(self, status, error, headers):
        return status, error, [(name, value) for name, value in headers if name != "retry-after"]


@mutant(kills=("ERR11",))
class TellsItsStackTrace(Behaviour):
    """An error holds the server's stack trace."""

    def error(self, status, error, headers):
        trace = 'Traceback (most recent call last):\n  File "/srv/app/server.py", line 12, in chat'
        return status, {"error": {**error["error"], "message": error["error"]["message"] + "\n" + trace}}, headers


@mutant(kills=("ERR12",), may_kill=("ENV7",))
class ListsModelsThatItDoesNotHave(Behaviour):
    """The listed ids cannot be used."""

    def models(self):
        return {"object": "list", "data": [{**self.model_card(), "id": "stub-1-gguf"}]}


@mutant(kills=("ERR12", "ERR13"), may_kill=("ENV7",), origin="Ollama: data is null where there is no model")
class ModelsAreNull(Behaviour):
    """The list of models is null."""

    def models(self):
        return {"object": "list", "data": None}


@mutant(kills=("ERR14",), may_kill=("ERR8", "ERR15"))
class UnknownModelsRouteIs400(Behaviour):
    """What is not found gives 400."""

    def error(self, status, error, headers):
        return 400 if status == 404 else status, error, headers
