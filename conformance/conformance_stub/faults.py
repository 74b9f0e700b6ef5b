"""Mutants of endpoints: one line each, and those of rules that are data made from the data.

fault("responses", "The object is that of chat.", "RESP2", answer=put(object="chat.completion"))
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from enginehouse_conformance.checks.cases import NULL, holds
from enginehouse_conformance.endpoints import ENDPOINTS
from enginehouse_conformance.rules import RULES, Rule
from enginehouse_conformance.rules.cases import Echoed, Harmless, LikeChat, Refused

from .behaviour import Behaviour
from .dialects import Made
from .fields import Body
from .mutants import mutant
from .wire_parts import Rejected

Edit = Callable[[Body], Body]
EventEdit = Callable[[list[Made]], list[Made]]


def fault(
    endpoint: str,
    what: str,
    *kills: str,
    answer: Edit | None = None,
    events: EventEdit | None = None,
    chat: Callable[[Body, Body], Body] | None = None,
    stream: Callable[[bytes], bytes] | None = None,
    error: Edit | None = None,
    check: Callable[[Body], None] | None = None,
    instead: Callable[..., None] | None = None,
    may_kill: tuple[str, ...] = (),
    absent: tuple[str, ...] = (),
    time_scale: float = 1.0,
    **seams: Any,  # methods of Behaviour
) -> None:
    """Register the stub with one fault at *endpoint*: *what* is wrong with it, and the rules that must see it.

    *answer*, *error* and *events* change what leaves, *stream* the stream's bytes, and *chat* what the engine is asked
    (with the request). *check* looks at a request before the right check does, *instead* takes its place. *absent* are
    features that the target says it has not. *seams* are other methods of `Behaviour`.
    """
    methods: dict[str, Any] = {name: _seam(function) for name, function in seams.items()}
    if instead is not None:
        methods["check_body"] = instead

    def at(name: str, change: Callable[..., Any] | None, *, with_body: bool = False) -> None:
        if change is not None:
            methods[name] = _at(endpoint, change, with_body=with_body)

    at("dialect_answer", answer)
    at("dialect_events", events)
    at("dialect_stream", stream)
    at("dialect_error", error)
    at("as_chat", chat, with_body=True)
    if check is not None:
        methods["check_body"] = _checked(endpoint, check)
    name = "".join(word.capitalize() for word in re.findall(r"\w+", what))[:90]
    made = type(f"{endpoint.title()}{name}", (Behaviour,), {"__doc__": what, "__module__": __name__, **methods})
    mutant(kills=kills, may_kill=may_kill, absent=absent, time_scale=time_scale)(made)


def _seam(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _self, *args, **named: function(*args, **named)


def _at(endpoint: str, change: Callable[..., Any], *, with_body: bool) -> Callable[..., Any]:
    def method(_self: Behaviour, dialect: str, value: Any, body: Body | None = None) -> Any:
        if dialect != endpoint:
            return value
        return change(value, body) if with_body else change(value)

    return method


def _checked(endpoint: str, check: Callable[[Body], None]) -> Callable[..., Any]:
    def method(self: Behaviour, dialect: str, body: Body) -> None:
        if dialect == endpoint:
            check(body)
        Behaviour.check_body(self, dialect, body)

    return method


# ---- edits ----


def put(**values: Any) -> Edit:
    """*values* over what is there."""
    return lambda raw: {**raw, **values}


def drop(*names: str) -> Edit:
    """What is there without *names*."""
    return lambda raw: {name: value for name, value in raw.items() if name not in names}


def inside(name: str, edit: Edit) -> Edit:
    """*edit* on what is at *name*: an object, or each of an array."""

    def change(raw: Body) -> Body:
        value = raw.get(name)
        if value is None:
            return raw
        return {**raw, name: [edit(each) for each in value] if isinstance(value, list) else edit(value)}

    return change


def each(edit: Edit, *types: str) -> EventEdit:
    """*edit* on the data of each event of *types*; none: of all."""
    return lambda events: [(name, edit(data) if not types or name in types else data) for name, data in events]


def only(keep: Callable[[str, Body], bool]) -> EventEdit:
    """The events that *keep* wants."""
    return lambda events: [event for event in events if keep(*event)]


def without(*types: str) -> EventEdit:
    """All events but those of *types*."""
    return only(lambda name, _data: name not in types)


def decoding(**right: Any) -> Callable[[bytes], Body]:
    """A decoder that takes what is no object for the request *right*."""

    def decode(data: bytes) -> Body:
        try:
            found = msgspec.json.decode(data)
        except msgspec.DecodeError:
            found = None
        return found if isinstance(found, dict) else dict(right)

    return decode


# ---- of rules that are data ----


def faults_of_cases(section: str, *, but: tuple[str, ...] = ()) -> None:
    """A mutant for each rule of *section* that is data, *but* these: it does what the rule forbids."""
    for rule in RULES.values():
        if rule.section == section and rule.case is not None and rule.id not in but:
            _fault_of(rule)


def _fault_of(rule: Rule) -> None:
    def known(what: str, **seams: Any) -> None:
        fault(rule.endpoint, what, rule.id, **seams)

    match rule.case:
        case Refused() as case:
            names = {name for body in case.bodies for name in body} | set(case.lacks)
            what = f"What {rule.id} has refused is taken for a right request."
            known(what, instead=_mending(rule.endpoint, names))
        case Harmless() as case:
            known(f"What {rule.id} has without effect is refused.", check=_refusing(case.bodies))
        case Echoed() as case:
            shown = case.shown or case.fields
            known(f"What {rule.id} has given back is null.", answer=put(**dict.fromkeys(shown)))
        case LikeChat() as case:
            what = f"What {rule.id} asks of the engine is dropped."
            known(what, chat=_ignoring(set(case.chat)), may_kill=(f"{rule.section}*",))


def _mending(endpoint: str, names: set[str]) -> Callable[..., None]:
    """A check that puts right values, or none, in the place of wrong ones of *names*."""
    right = {"model": Behaviour.model, **ENDPOINTS[endpoint].body("Say hello.", 4)}

    def check(self: Behaviour, dialect: str, body: Body) -> None:
        try:
            Behaviour.check_body(self, dialect, body)
        except Rejected as exc:
            if dialect != endpoint or exc.param not in names:
                raise
            for name in names:
                body.pop(name, None)
                body.update({name: right[name]} if name in right else {})

    return check


def _refusing(bodies: tuple[Body, ...]) -> Callable[[Body], None]:
    """A check that refuses the values of *bodies*; any value where a rule leaves a word of it open."""

    def refuse(body: Body) -> None:
        for name, value in (pair for each in bodies for pair in each.items()):
            is_open = "{" in str(value) and "}" in str(value) and not isinstance(value, dict)
            is_open = is_open and type(body.get(name)) is type(value)
            is_null = value == NULL and name in body and body[name] is None
            if is_open or is_null or (name in body and holds(body[name], value)):
                raise Rejected(f"{name} cannot be had", param=name)

    return refuse


def _ignoring(names: set[str]) -> Callable[[Body, Body], Body]:
    def ignore(chat: Body, body: Body) -> Body:
        del body
        dropped = names - {"messages"} if len(names) > 1 else names
        kept = {name: value for name, value in chat.items() if name not in dropped}
        return {**kept, "messages": _spoilt(chat["messages"])} if dropped == {"messages"} else kept

    return ignore


def _spoilt(messages: list[Body]) -> list[Body]:
    """*messages* of which something is lost: all but the last, the parts behind the first, or a word."""
    last = messages[-1]
    if len(messages) > 1:
        return [{**last, "role": "user"}]
    content = last["content"]
    less = content[:1] if isinstance(content, list) else content.rpartition(" ")[0]
    return [{**last, "content": less}]
