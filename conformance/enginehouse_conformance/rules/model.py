"""What a rule is, and what a profile is: plain data, read from the TOML files beside this module."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .cases import Case, Echoed, Harmless, LikeChat, Refused

Scope = Literal["wire", "generation", "contract"]
Level = Literal["MUST", "SHOULD", "MAY"]
LevelOrAbsent = Literal["MUST", "SHOULD", "MAY", "absent"]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One numbered requirement.

    `scope` says who can be asked: `wire` a URL only, `generation` a URL and a backend, `contract` a backend only.
    `parameters` are the words of the API that the rule is about: a profile without one of them has no such rule.
    `features` must be declared by the target; where one is declared absent the refusal is checked instead.
    With `when_absent` it is the other way round: the rule is for targets that declare the feature absent.
    `hooks` are abilities of the target that the check cannot do without.
    `false_alarm` is the chance that a correct target fails, for checks on distributions.
    `endpoint` is the one that it asks, see `endpoints`, and `beside` are those that it asks too. `case` is what makes a
    rule of a common kind, see `cases`. A rule of an `audit` is run only where that is asked for.
    """

    id: str
    section: str
    endpoint: str
    title: str
    scope: Scope
    requirement: str
    source: str
    level: Level
    since: str
    levels: dict[str, LevelOrAbsent] = {}
    parameters: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    when_absent: bool = False
    hooks: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    provisional: bool = False
    quick: bool = False
    false_alarm: float = 0.0
    beside: tuple[str, ...] = ()
    case: Case | None = None
    audit: str | None = None

    def level_in(self, profile: ProfileData) -> Level | None:
        """The level of this rule in *profile*; None where the profile lacks what the rule is about."""
        if self.endpoint not in profile.endpoints:
            return None
        chosen = self.levels.get(profile.name)
        if chosen == "absent":
            return None
        if chosen is not None:
            return chosen
        if all(parameter in profile.parameters for parameter in self.parameters):
            return self.level
        return None


class ProfileData(msgspec.Struct, frozen=True, kw_only=True):
    """A dialect of the API as its document describes it.

    `stream_usage`: `on_request` a last chunk with empty choices when asked for, `last_chunk` always on the last one.
    `endpoints` are those of which the suite has rules for it.
    """

    name: str
    title: str
    document: str
    parameters: frozenset[str]
    endpoints: tuple[str, ...] = ("chat",)
    max_temperature: float = 2.0
    stream_usage: Literal["on_request", "last_chunk"] = "on_request"


class RuleEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule as written in a section's file; None takes the section's default."""

    id: str
    level: Level
    requirement: str
    scope: Scope | None = None
    source: str | None = None
    levels: dict[str, LevelOrAbsent] = {}
    parameters: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    when_absent: bool = False
    hooks: tuple[str, ...] = ()
    techniques: tuple[str, ...] = ()
    since: str | None = None
    provisional: bool = False
    quick: bool = False
    false_alarm: float = 0.0
    endpoint: str | None = None
    beside: tuple[str, ...] = ()
    refused: Refused | None = None
    harmless: Harmless | None = None
    echoed: Echoed | None = None
    like_chat: LikeChat | None = None


class FeatureEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A feature as written in the file of the rules about it.

    `named`: a target has it only where it says so by name, because it depends on the model, or no profile's document
    has it.

    `asks` are fields of a request that need it, over those of the feature `beside`. Empty: nothing in a request asks
    for it, so that nothing can be refused. `names` are the words of which the refusal must say one; the fields
    unless given.
    """

    name: str
    asks: dict[str, Any] = {}
    beside: str | None = None
    names: tuple[str, ...] = ()
    named: bool = False


class SectionFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of rules: the section's title, what its rules have in common, the features that it is about, the rules.

    `features` are those that a rule needs where it does not say which.
    """

    section: str
    title: str
    scope: Scope
    source: str
    since: str
    rule: tuple[RuleEntry, ...]
    endpoint: str = "chat"
    audit: str | None = None
    feature: tuple[FeatureEntry, ...] = ()
    parameters: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    def rules(self) -> tuple[Rule, ...]:
        """The section's rules with its defaults filled in."""
        return tuple(self._rule(entry) for entry in self.rule)

    def _rule(self, entry: RuleEntry) -> Rule:
        return Rule(
            id=entry.id,
            section=self.section,
            endpoint=entry.endpoint or self.endpoint,
            title=self.title,
            scope=entry.scope or self.scope,
            requirement=entry.requirement,
            source=entry.source or self.source,
            level=entry.level,
            since=entry.since or self.since,
            levels=entry.levels,
            parameters=self.parameters if entry.parameters is None else entry.parameters,
            features=self.features if entry.features is None else entry.features,
            when_absent=entry.when_absent,
            hooks=entry.hooks,
            techniques=entry.techniques,
            provisional=entry.provisional,
            quick=entry.quick,
            false_alarm=entry.false_alarm,
            beside=entry.beside,
            case=entry.refused or entry.harmless or entry.echoed or entry.like_chat,
            audit=self.audit,
        )
