"""What a server's reply means: a usable text, or a fault sorted by what to do about it.

What a server says in words is not passed on, since it may repeat the key or an item; but for what it says about a parameter
that was sent, where no word of it is one of the key's or of an item's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from genz_ppl.llm.served.faults import CallError, Remedy
from genz_ppl.llm.served.replies import InvalidReplyError, is_object, unique_keys
from genz_ppl.llm.served.settings import LIMITS
from genz_ppl.llm.served.spending import Usage

KEY_VARIABLE = "OPENAI_API_KEY"
Body = Mapping[str, Any]
# Seconds. A server that asks for a longer pause than this will not answer today.
LONGEST_RETRY_AFTER = 600.0
_QUOTA = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_TOO_LONG = {"context_length_exceeded", "string_above_max_length", "request_too_large", "exceed_context_size_error"}
_LENGTH_WORDS = ("context length", "context size", "context window", "maximum context", "prompt is too long", "input token count")
_FILTERED = {"content_filter", "content_policy_violation", "responsibleaipolicyviolation"}
_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "structured output")
# Parameters that can be changed or left out where a server does not know them, and how it says so.
_ADJUSTABLE = (*LIMITS, "temperature")
_UNKNOWN = {"unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden"}
_UNKNOWN_WORDS = re.compile("unsupported|(not|n't) support|unrecognized|unknown|unexpected|not (permitted|allowed)")
# The codes that are shown: any other might be an echo of the key or of an item.
_SHOWN = _QUOTA | _TOO_LONG | _FILTERED | _UNKNOWN
_SHOWN |= set(
    "invalid_api_key invalid_request_error model_not_found overloaded_error permission_denied rate_limit_exceeded requests "
    "server_error tokens unknown_url unsupported_country_region_territory".split()
)
# Words of errors that an item may have too without being given away.
_ORDINARY = set(
    "all and any are but can cannot default does for from given has have instead its least less maximum minimum model most must "
    "not number only other please provided range should than that the this too use value was when which with you your".split()
)
_LONGEST_WORDS = 200
_TRANSIENT = {408, 409, 425}
_STOPS = dict.fromkeys(range(300, 400), ("the server sends calls to another address", "correct --base-url")) | {
    401: ("the server refuses the key", f"check {KEY_VARIABLE}"),
    404: ("the server knows no such model or address", "check --model and --base-url"),
    407: ("the proxy wants a name and password", "put them into its address"),
}
# Log-probabilities: below the first nothing differs from 0, and what is above the second is none.
_LEAST, _ROUNDING = -1000.0, 0.01
CUT_OFF = "the reply was cut off"
# How a reply ends when it is whole, by any server's name for it; and what other names tell.
_WHOLE = {"none", "stop", "stop_sequence", "eos", "eos_token", "end_turn", "complete", "end"}
_ENDS = (
    (re.compile("filter|safety|block|prohibit|recitation|policy|toxic|sensitive"), Remedy.SPLIT, "content filter"),
    (re.compile("length|limit|max"), Remedy.SPLIT, CUT_OFF),
    (re.compile("error|abort|cancel|fail|resource"), Remedy.AGAIN, "an error in place of a reply"),
    (re.compile("tool|function"), Remedy.SPLIT, "a call of a tool in place of a reply"),
)


@dataclass(frozen=True)
class Reply:
    """A usable reply. text: what the model said. usage: None where the server does not tell.

    tokens: (token, {alternative: log-probability}) of the text, where they were asked for.
    """

    text: str
    usage: Usage | None
    tokens: tuple[tuple[str, Mapping[str, float]], ...] = ()


def status_error(status: int, headers: Mapping[str, str], content: bytes, body: Body | None = None, key: str = "") -> CallError:
    """What an HTTP status other than 200 calls for. body, key: as they were sent."""
    error = _error_of(content)
    # The error's code, else its type.
    code = next((value.lower() for name in ("code", "type") if isinstance(value := error.get(name), str) and value), "")
    named = f"status {status}" + (f", {code}" if code in _SHOWN else "")
    text = f"{error.get('message', '')} {error.get('param', '')}".lower()
    if status == 402 or (status == 429 and code in _QUOTA):
        return CallError(Remedy.STOP, f"the account's quota is used up ({named})", free=True)
    pause = retry_after(headers)
    if status == 429 or (status == 503 and "retry-after" in headers) or (status >= 500 and (pause or 0) > LONGEST_RETRY_AFTER):
        return CallError(Remedy.WAIT, named, free=True, retry_after=pause)
    if status >= 500 or status in _TRANSIENT:
        return CallError(Remedy.AGAIN, named, free=True, retry_after=pause)
    if status in _STOPS:
        what, advice = _STOPS[status]
        return CallError(Remedy.STOP, f"{what} ({named}); {advice}", free=True)
    if status == 413 or code in _TOO_LONG or any(words in text for words in _LENGTH_WORDS):
        return CallError(Remedy.SPLIT, f"too long for the model ({named})", free=True)
    if code in _FILTERED:
        return CallError(Remedy.SPLIT, "content filter", free=True)
    return _refusal(error, code, named, text, body or {}, key)


def _refusal(error: Body, code: str, named: str, text: str, body: Body, key: str) -> CallError:
    """A request that the server will not have as it is: because of one of its parameters, as far as it says."""
    name = _parameter(error, body)
    if name in _ADJUSTABLE and (code in _UNKNOWN or _UNKNOWN_WORDS.search(text)):
        return CallError(Remedy.PLAINER, f"the server refuses {name} ({named})", free=True, parameter=name)
    if "response_format" in body and any(word in text or word in code for word in _FORMAT_WORDS):
        return CallError(Remedy.PLAINER, f"the server does not know the reply format ({named})", free=True)
    if not name:
        return CallError(Remedy.WITHOUT, f"the server refuses the request ({named})", free=True)
    return CallError(Remedy.STOP, f"the server refuses {name} ({named}){_words(error, body, key)}", free=True)


def _parameter(error: Body, body: Body) -> str:
    """The parameter of a request that an error is about: named as such, else the first one in the message; "" for none."""
    names = [name for name in body if name not in ("model", "messages")]
    named = re.findall(r"\w+", str(error.get("param") or ""))
    if named:
        return named[-1] if named[-1] in names else ""
    message = str(error.get("message"))
    found = [(place.start(), name) for name in names if (place := re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message))]
    return min(found)[1] if found else ""


def _words(error: Body, body: Body, key: str) -> str:
    """A server's own words about a parameter, cut; none where one of them might be the key's or an item's."""
    message = " ".join(str(error.get("message") or "").split())[:_LONGEST_WORDS]
    sent = json.dumps(body.get("messages"), ensure_ascii=False).lower() + key.lower()
    bare = re.sub(rf"\b({'|'.join(map(re.escape, (*body, *LIMITS)))})\b", " ", message.lower())
    unusual = set(re.findall(r"[^\W_]{3,}", bare)) - _ORDINARY
    return f": {message}" if message.isprintable() and not any(word in sent for word in unusual) else ""


def _error_of(content: bytes) -> dict[str, Any]:
    """The error in a body: message, param, code, type, as far as there are any.

    Some servers say it in a list of one (Google's), at the top of the body (vLLM) or as a list of details (FastAPI, Mistral).
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    found = found[0] if isinstance(found, list) and found else found
    error = found.get("error") or found if isinstance(found, dict) else {}
    error = error if isinstance(error, dict) else {"message": error}
    message = error.get("message", error)
    details = message.get("detail") if isinstance(message, dict) else message
    if isinstance(details, list) and details and isinstance(details[0], dict):
        place = details[0].get("loc")
        return {**details[0], "message": details[0].get("msg"), "param": place[-1] if isinstance(place, list) and place else None}
    return {**error, "message": details}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: from retry-after-ms, or Retry-After in seconds or as a date; None if it does not."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        try:
            seconds = float(text) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        return None if date.tzinfo is None else max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):  # no date, or none that a calendar has
        return None


def read_completion(body: Mapping[str, Any]) -> Reply:
    """The reply in a chat completion. Raises CallError for anything that cannot be used as it stands."""
    usage = _usage(body.get("usage"))
    if body.get("error") is not None:
        raise CallError(Remedy.AGAIN, "an error in place of a reply", usage=usage)
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise CallError(Remedy.AGAIN, "a reply without exactly one choice", usage=usage)
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise CallError(Remedy.AGAIN, "a reply without a message", usage=usage)
    end, text = str(choice.get("finish_reason")).lower(), _text(message)
    if usage is not None and text and not usage.tokens_out:
        usage = None  # it cannot be
    if message.get("refusal"):
        raise CallError(Remedy.SPLIT, "refusal", usage=usage)
    for words, remedy, reason in _ENDS:
        if words.search(end):
            raise CallError(remedy, reason, usage=usage)
    if not text:
        raise CallError(Remedy.SPLIT, "an empty reply", usage=usage)
    if end not in _WHOLE and not is_object(text):
        raise CallError(Remedy.SPLIT, "the reply ended in an unknown way", usage=usage)
    return Reply(text, usage, _tokens(choice.get("logprobs")))


def _text(message: Mapping[str, Any]) -> str:
    """What a message says; "" for nothing.

    Of content in parts the texts, since others are thoughts. Without content the thoughts, where they are one JSON object and
    nothing else: some servers take all of a reply for thoughts.
    """
    content = message.get("content")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") in ("text", "output_text")]
        texts = [text for part in parts if isinstance(text := part.get("text"), str)]
        content = "".join(texts) if len(texts) == len(parts) else ""
    if isinstance(content, str) and content.strip():
        return content
    thoughts = [message.get(name) for name in ("reasoning_content", "reasoning")] if isinstance(content, str | None) else []
    return next((text for text in thoughts if isinstance(text, str) and is_object(text)), "")


def read_object(content: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are. Raises CallError, also for a key that is there twice."""
    try:
        body = json.loads(content.decode("utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError, InvalidReplyError):
        raise CallError(Remedy.AGAIN, "a body that is not JSON") from None
    if not isinstance(body, dict):
        raise CallError(Remedy.AGAIN, "a body that is no JSON object")
    return body


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    tokens_in, tokens_out = value.get("prompt_tokens"), value.get("completion_tokens")
    if type(tokens_in) is int and type(tokens_out) is int and tokens_in > 0 and tokens_out >= 0:
        return Usage(tokens_in, tokens_out)
    return None


def _tokens(value: Any) -> tuple[tuple[str, Mapping[str, float]], ...]:
    """The tokens with their alternatives; none at all where one of them cannot be what it should: the reply stands without."""
    tokens = []
    try:
        for entry in value["content"]:
            others = entry.get("top_logprobs") or [entry]
            known = [(one.get("token"), one.get("logprob")) for one in others]
            table = {token: max(p, _LEAST) for token, p in known if isinstance(token, str) and isinstance(p, int | float)}
            if not isinstance(entry["token"], str) or not all(p <= _ROUNDING for p in table.values()):
                return ()
            tokens.append((entry["token"], table))
    except (TypeError, KeyError, AttributeError):
        return ()
    return tuple(tokens)
