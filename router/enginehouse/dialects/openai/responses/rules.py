"""Rules of a request that look at more than one field, or that allow only some of a field's values.

The reasons stand in docs/responses.md.
"""

from __future__ import annotations

from operator import attrgetter

from enginehouse.dialects.openai.responses.items import Hosted
from enginehouse.dialects.openai.responses.left_out import LeftOut
from enginehouse.dialects.openai.responses.request import (
    AllowedChoice,
    CustomChoice,
    FunctionChoice,
    ResponsesCustom,
    ResponsesFunction,
    ResponsesRequest,
    ToolGrammar,
)
from enginehouse_plugin.errors import InvalidRequest

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
_OF_CLOUD = ("context_management", "moderation", "access_programs", "background_options", "image")
_of_cloud = attrgetter(*_OF_CLOUD)
_NONE_OF_CLOUD = (None,) * len(_OF_CLOUD)


def check(asked: ResponsesRequest, left_out: LeftOut, *, keeps: bool) -> None:
    """Refuse *asked* where its fields do not go together; *left_out* gathers what cannot be honoured.

    *keeps*: responses are kept by this server.

    Raises:
        InvalidRequest: naming the first field that does not.
    """
    if asked.stream_options is not None and not asked.stream:
        raise invalid("stream_options", "it is only allowed when 'stream' is true")
    if asked.top_logprobs and LOGPROBS not in (asked.include or ()):
        raise invalid("top_logprobs", f"it is only allowed when 'include' has '{LOGPROBS}'")
    if asked.tools is not None or asked.tool_choice is not None:
        _check_tools(asked, left_out)
    if asked.background or asked.previous_response_id is not None or asked.store:
        _check_kept(asked, left_out, keeps)
    _check_values(asked, left_out)


def _check_kept(asked: ResponsesRequest, left_out: LeftOut, keeps: bool) -> None:
    if not keeps:
        if asked.previous_response_id is not None:
            raise invalid("previous_response_id", "no responses are kept here; send the conversation as 'input'")
        if asked.background:
            raise invalid("background", "no responses are kept here; leave it out")
        left_out.add("store", "does not support 'true' here: no responses are kept. Supported: false")
    elif asked.background:
        if asked.store is False:
            raise invalid("background", "it needs a response that is kept; leave 'store' out")
        if asked.stream:
            raise invalid("background", "it does not go with 'stream' here; ask for the response until it has ended")


def _check_tools(asked: ResponsesRequest, left_out: LeftOut) -> None:
    functions: set[str] = set()
    customs: set[str] = set()
    for at, tool in enumerate(asked.tools or ()):
        if isinstance(tool, Hosted):
            kind = str(tool.__struct_config__.tag)
            left_out.add(
                f"tools[{at}].type",
                f"does not support '{kind}' here: only a vendor's cloud has it. Supported: 'function', 'custom'",
                shown=f"tools[{at}].{kind}",
            )
            continue
        if tool.name in functions or tool.name in customs:
            raise invalid(f"tools[{at}].name", "another tool has the same name")
        if isinstance(tool, ResponsesFunction):
            functions.add(tool.name)
        elif isinstance(tool, ResponsesCustom):
            customs.add(tool.name)
            if isinstance(tool.format, ToolGrammar):
                left_out.add(f"tools[{at}].format", "has a grammar, which is not enforced here. Supported: 'text'")
    choice = asked.tool_choice
    if choice is None or choice in ("none", "auto"):
        return
    if not functions and not customs:
        raise invalid("tool_choice", "a call can only be asked for when 'tools' has functions or custom tools")
    if isinstance(choice, FunctionChoice) and choice.name not in functions:
        raise invalid("tool_choice.name", f"no function has this name. Functions are: {_listed(functions)}")
    if isinstance(choice, CustomChoice) and choice.name not in customs:
        raise invalid("tool_choice.name", f"no custom tool has this name. Custom tools are: {_listed(customs)}")
    if isinstance(choice, AllowedChoice):
        _check_allowed(choice, left_out, {"function": functions, "custom": customs})


def _check_allowed(choice: AllowedChoice, left_out: LeftOut, known: dict[str, set[str]]) -> None:
    for at, allowed in enumerate(choice.tools):
        where = f"tool_choice.tools[{at}]"
        if allowed.type not in known:
            left_out.add(f"{where}.type", f"is '{allowed.type[:64]}', which only a vendor's cloud has", shown=where)
        elif allowed.name not in known[allowed.type]:
            raise invalid(f"{where}.name", f"no tool has this name. Tools are: {_listed(known[allowed.type])}")
    if all(allowed.type not in known for allowed in choice.tools):
        raise invalid("tool_choice.tools", "it names none of the functions and custom tools in 'tools'")


def _check_values(asked: ResponsesRequest, left_out: LeftOut) -> None:
    """Leave out values that the reference has and this API cannot honour."""
    if asked.truncation == "auto":
        left_out.add("truncation", "does not support 'auto' here. Supported: 'disabled'; shorten the input yourself")
    if asked.service_tier not in (None, "auto", "default"):
        left_out.add(
            "service_tier",
            f"does not support '{asked.service_tier}' here. Supported: 'auto' and 'default': there is one tier",
        )
    if asked.text is not None and asked.text.verbosity not in (None, "medium"):
        left_out.add(
            "text.verbosity",
            f"does not support '{asked.text.verbosity}' here. Supported: 'medium'; ask for it in 'instructions'",
        )
    if asked.reasoning is not None and "concise" in (asked.reasoning.summary, asked.reasoning.generate_summary):
        left_out.add(
            "reasoning.summary",
            "does not support 'concise' here. Supported: 'auto' and 'detailed', the reasoning as it is",
        )
    if _of_cloud(asked) == _NONE_OF_CLOUD:
        return
    for name in _OF_CLOUD:
        if getattr(asked, name) is not None:
            left_out.add(name, "is not supported here: only a vendor's cloud has it", code="unsupported_parameter")


def invalid(param: str, problem: str, *, code: str | None = None) -> InvalidRequest:
    """Build the refusal of *param*."""
    return InvalidRequest(f"Invalid '{param}': {problem}.", param=param, code=code)


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:8]
    return (", ".join(shown) or "none") + (", …" if len(names) > len(shown) else "")
