"""Asking a URL for single tokens with their alternatives."""

from __future__ import annotations

import re

from enginehouse_conformance.answer import Answer, Refusal
from enginehouse_conformance.reading import read_answer
from enginehouse_conformance.targets import Body, Busy, Recording, Refused, Reply, ServerFailure, UrlTarget
from enginehouse_conformance.wire.faults import WireFault

from .taking import LEAST_TOP, TOP, Asker, CannotCompare, Probe, top_of

_OFFERED = (TOP, 10, LEAST_TOP)
_TELLING = re.compile(r"server|x-[\w-]*(version|instance|engine|backend|host|model|quant|provider)[\w-]*")
"""Headers that tell what answered; none that is another for each request."""


class UrlAsker(Asker):
    """Asks *target* for single tokens. What it refuses of a request is left out of the next ones, where that can be."""

    def __init__(self, target: UrlTarget) -> None:
        super().__init__(target.base_url, target.model)
        self.target = target

    async def probe(self, prompt: str) -> Probe | None:
        """See `Asker.probe`."""
        answer = await self._answer({"messages": [{"role": "user", "content": prompt}]})
        entries = answer.first.logprobs
        usage = answer.usage
        return Probe(prompt, usage.prompt_tokens if usage else None, top_of(entries[0].top)) if entries else None

    async def _answer(self, body: Body) -> Answer:
        target = self.target
        try:
            while True:
                try:
                    reply = await target.served(target.chat_request({**body, **self.fields}), Recording())
                    break
                except Refused as exc:
                    self._do_without(exc.refusal)
            answer = read_answer(reply.json())
            _ = answer.first
        except (Busy, ServerFailure, WireFault) as exc:
            raise CannotCompare(f"{target.base_url}: {exc}") from exc
        self._note(answer, reply)
        return answer

    def _do_without(self, refusal: Refusal) -> None:
        """Change the fields for the next request, or give up because of *refusal*."""
        fields = self.fields
        fewer = next((top for top in _OFFERED if top < fields["top_logprobs"]), None)
        if refusal.status in (401, 403):
            raise CannotCompare(f"{self.target.base_url}: refused, check the key: {refusal}")
        if fewer is not None and refusal.names("top_logprobs"):
            fields["top_logprobs"] = fewer
        elif "max_tokens" in fields and refusal.names("max_tokens"):
            fields["max_completion_tokens"] = fields.pop("max_tokens")
        elif "temperature" in fields and refusal.names("temperature"):
            del fields["temperature"]
        elif refusal.names("logprobs", "top_logprobs"):
            raise CannotCompare(
                f"{self.target.base_url}: refuses log probabilities, without which nothing can be said: {refusal}"
            )
        else:
            raise CannotCompare(f"{self.target.base_url}: refused: {refusal}")

    def _note(self, answer: Answer, reply: Reply) -> None:
        told = {name: answer.raw.get(name) for name in ("model", "system_fingerprint")}
        told |= {name: value for name, value in reply.head.headers if _TELLING.fullmatch(name)}
        for name, value in told.items():
            if isinstance(value, str):
                self.served_by.setdefault(name, set()).add(self.target.redactor.text(value))
