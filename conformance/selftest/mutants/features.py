"""Lies about features that no document of a vendor has: each is accepted, and ignored or done half."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin import TextPart
from enginehouse_plugin.request import AudioPart, FilePart, ImagePart


def changed(request, **fields):
    return msgspec.structs.replace(request, **fields)


@mutant(kills=("SMP18", "SMP19"), origin="servers that accept top_k and ignore it", in_process=True)
class IgnoresTopK(Behaviour):
    """top_k is ignored."""

    def accept(self, request):
        return changed(request, top_k=0)


@mutant(kills=("SMP19",), in_process=True)
class AnyTopKIsOne(Behaviour):
    """Whatever top_k is, the answer is greedy."""

    def accept(self, request):
        return changed(request, top_k=min(1, request.top_k))


@mutant(kills=("SMP20", "SMP21"), origin="servers that accept min_p and ignore it", in_process=True)
class IgnoresMinP(Behaviour):
    """min_p is ignored."""

    def accept(self, request):
        return changed(request, min_p=0.0)


@mutant(kills=("SMP21",), in_process=True)
class WeakensMinP(Behaviour):
    """A min_p under 1 counts for a tenth."""

    def accept(self, request):
        return changed(request, min_p=request.min_p if request.min_p == 1 else request.min_p / 10)


@mutant(kills=("SMP22",), origin="llama.cpp: repeat_penalty was 1.1 unless told otherwise")
class RepetitionOneIsADefault(Behaviour):
    """A repetition_penalty of 1 counts as 3."""

    def prepare(self, body):
        prepared = super().prepare(body)
        return {**prepared, "repetition_penalty": 3} if prepared.get("repetition_penalty") == 1 else prepared


@mutant(kills=("SMP23", "SMP24"), in_process=True)
class IgnoresRepetition(Behaviour):
    """repetition_penalty is ignored."""

    def accept(self, request):
        return changed(request, repetition_penalty=1.0)


@mutant(kills=("SMP24",), in_process=True)
class RepetitionForgetsThePrompt(Behaviour):
    """repetition_penalty counts the output alone."""

    def repeated(self, logits, request, prompt, output):
        return super().repeated(logits, request, (), output)


@mutant(kills=("SMP23",), in_process=True)
class RepetitionForgetsTheOutput(Behaviour):
    """repetition_penalty counts the prompt alone."""

    def repeated(self, logits, request, prompt, output):
        return super().repeated(logits, request, prompt, ())


@mutant(kills=("MSG19",), in_process=True)
class IgnoresTemplateVariables(Behaviour):
    """chat_template_kwargs is ignored."""

    def accept(self, request):
        return changed(request, chat_template_kwargs=None)


@mutant(kills=("LEN15",), in_process=True)
class NeverCaches(Behaviour):
    """No prompt is kept."""

    def cached_tokens(self, prompt, earlier):
        return 0


@mutant(kills=("LEN15",), in_process=True)
class TellsEverythingCached(Behaviour):
    """All of every prompt is told as cached."""

    def cached_tokens(self, prompt, earlier):
        return len(prompt)


@mutant(kills=("LEN16",), absent=("prefix_cache",))
class TellsACacheThatItLacks(Behaviour):
    """Half of every prompt is told as cached, without a cache."""

    def cached_tokens(self, prompt, earlier):
        return len(prompt) // 2


def without(request, kind, stand_in=()):
    """*request* with *stand_in* for each part of *kind*."""

    def parts(content):
        if not isinstance(content, tuple):
            return content
        kept = [stand_in if isinstance(part, kind) else (part,) for part in content]
        return tuple(part for group in kept for part in group)

    messages = tuple(changed(message, content=parts(message.content)) for message in request.prompt.messages)
    return changed(request, prompt=changed(request.prompt, messages=messages))


@mutant(kills=("MSG20", "MSG42"), origin="servers of text models that drop pictures", in_process=True)
class DropsPictures(Behaviour):
    """Pictures are accepted and dropped."""

    def accept(self, request):
        return without(request, ImagePart)


@mutant(kills=("MSG20",), in_process=True)
class PicturesAreAMark(Behaviour):
    """A picture is the mark that stands for one, whatever it shows."""

    def accept(self, request):
        return without(request, ImagePart, (TextPart("<image>"),))


@mutant(kills=("MSG21",), in_process=True)
class DropsSounds(Behaviour):
    """Sounds are accepted and dropped."""

    def accept(self, request):
        return without(request, AudioPart)


@mutant(kills=("MSG22",), in_process=True)
class DropsFiles(Behaviour):
    """Files are accepted, and only that there is one is told."""

    def accept(self, request):
        return without(request, FilePart, (TextPart("[file]"),))


@mutant(kills=("RSN6",), may_kill=("RSN3", "RSN4", "RSN5", "RSN9"), in_process=True)
class IgnoresEfforts(Behaviour):
    """Every effort is the same one."""

    def accept(self, request):
        return changed(request, reasoning_effort="low") if request.reasoning_effort else request
