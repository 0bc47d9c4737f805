"""What can go wrong with a reply below its content: status codes, bodies, connections. A fault is a function of the exchange."""

from __future__ import annotations

import datetime
import email.utils
import json
import math
import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from answerers import Body, images, message_texts

KEEP, CLOSE, RESET, HANG, ENDLESS = "keep", "close", "reset", "hang", "endless"
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
REASONS |= {403: "Forbidden", 413: "Content Too Large", 422: "Unprocessable Content", 451: "Unavailable For Legal Reasons"}
REASONS |= {500: "Internal Server Error", 503: "Service Unavailable"}
SETTLE_SECONDS = 0.02  # between the last byte and a reset, so that the client has read what came before it
IMAGE_TOKENS = 1000
CONTEXT = "This model's maximum context length is 8192 tokens. Please reduce the length of the messages."
HTML = b"<!DOCTYPE html><html><head><title>Gateway</title></head><body><h1>Upstream unavailable</h1></body></html>\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes to send, each part after a pause in seconds, and what becomes of the connection then: KEEP, CLOSE, RESET or HANG,
    or ENDLESS: the last part is sent again and again while the client takes it."""

    parts: Sequence[tuple[float, bytes]]
    after: str = KEEP
    after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to /v1/chat/completions and the content of the right reply to it."""

    body: Body
    headers: dict[str, str]
    content: str
    certainty: float = 0.9
    retry_after: float = 1.0
    trickle_seconds: float = 1.0


Fault = Callable[[Exchange], "Reply | None"]


def http_bytes(
    status: int, payload: bytes, content_type: str = "application/json", headers: str = "", length: int | None = None
) -> bytes:
    """A whole HTTP response; `headers` are further lines, each ending in CR LF; `length` replaces the true Content-Length."""
    size = len(payload) if length is None else length
    reason = REASONS.get(status, "Status")
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {size}\r\n{headers}\r\n"
    return head.encode("latin-1", "replace") + payload


def reply_json(status: int, value: Any, headers: str = "") -> Reply:
    """An ordinary response with a JSON body."""
    return Reply(((0.0, http_bytes(status, json.dumps(value).encode(), headers=headers)),))


def reply_error(status: int, message: str, error_type: str, code: str | None = None, headers: str = "") -> Reply:
    """An ordinary response with a body like those of the OpenAI API's errors."""
    return reply_json(status, {"error": {"message": message, "type": error_type, "param": None, "code": code}}, headers)


def tokens(characters: int) -> int:
    """Tokens of a text, as this server counts them: a quarter of its characters, rounded up."""
    return -(-characters // 4)


def usage_of(body: Body, content: str | None) -> dict[str, Any]:
    """The usage block of a reply. A reply without content (a refusal) is billed as the right one."""
    asked = sum(len(text) for message in body.get("messages", ()) for text in message_texts(message))
    prompt, completion = tokens(asked) + IMAGE_TOKENS * len(images(body)), tokens(len(content or ""))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def log_probabilities(content: str, certainty: float) -> dict[str, Any]:
    """The log-probabilities of a content's tokens (here digits, and up to four other characters).

    A 0 or 1 has the probability `certainty` and the other of the two what is left; all other tokens are certain.
    """
    found = []
    for token in re.findall(r"\d|\D{1,4}", content):
        sure = {token: certainty, "10"[int(token)]: 1 - certainty} if token in ("0", "1") else {token: 1.0}
        tops = [{"token": other, "logprob": math.log(max(p, 1e-30)), "bytes": None} for other, p in sure.items()]
        found.append({**tops[0], "top_logprobs": tops})
    return {"content": found, "refusal": None}


def completion(
    exchange: Exchange, content: str | None = None, finish_reason: str = "stop", message: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The body of a chat completion with the given content (the right one if None); `message` replaces fields of the message.

    Content beyond the request's max_completion_tokens (or max_tokens) is cut off, with finish_reason "length".
    """
    content = exchange.content if content is None else content
    most = exchange.body.get("max_completion_tokens") or exchange.body.get("max_tokens")
    if most is not None and tokens(len(content)) > most:
        content, finish_reason = content[: 4 * most], "length"
    sureness = log_probabilities(content, exchange.certainty) if exchange.body.get("logprobs") else None
    said = {"role": "assistant", "content": content, "refusal": None, **(message or {})}
    return {
        "id": "chatcmpl-fault",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": exchange.body.get("model", "model"),
        "choices": [{"index": 0, "message": said, "logprobs": sureness, "finish_reason": finish_reason}],
        "usage": usage_of(exchange.body, content),
    }


def right(exchange: Exchange) -> Reply:
    """The reply in which nothing is wrong."""
    return reply_json(200, completion(exchange))


def right_payload(exchange: Exchange) -> bytes:
    """The body of the reply in which nothing is wrong."""
    return json.dumps(completion(exchange)).encode()


def too_many(headers: str = "") -> Reply:
    return reply_error(
        429, "Rate limit reached for requests. Please try again later.", "requests", "rate_limit_exceeded", headers
    )


def too_many_seconds(exchange: Exchange) -> Reply:
    return too_many(f"Retry-After: {exchange.retry_after:g}\r\n")


def too_many_date(exchange: Exchange) -> Reply:
    moment = math.ceil(time.time() + exchange.retry_after)  # dates have whole seconds; rounded up so that none is in the past
    date = email.utils.format_datetime(datetime.datetime.fromtimestamp(moment, datetime.UTC), usegmt=True)
    return too_many(f"Retry-After: {date}\r\n")


def busy(status: int, *headers: str) -> Fault:
    """An error that asks to come back later, by these headers."""
    lines = "".join(f"{header}\r\n" for header in headers)
    return lambda exchange: (
        too_many(lines) if status == 429 else reply_error(status, "Overloaded.", "overloaded_error", headers=lines)
    )


def quota(exchange: Exchange) -> Reply:
    message = "You exceeded your current quota, please check your plan and billing details."
    return reply_error(429, message, "insufficient_quota", "insufficient_quota")


def key_echoed(exchange: Exchange) -> Reply:
    key = exchange.headers.get("authorization", "").removeprefix("Bearer ")
    return reply_error(
        401,
        f"Incorrect API key provided: {key}. You can find your key in your account.",
        "invalid_request_error",
        "invalid_api_key",
    )


def context_exceeded(exchange: Exchange) -> Reply:
    return reply_error(400, CONTEXT, "invalid_request_error", "context_length_exceeded")


def filtered_prompt(exchange: Exchange) -> Reply:
    return reply_error(400, "The prompt triggered the content management policy.", "invalid_request_error", "content_filter")


def policy(status: int) -> Fault:
    """A refusal of what is in a request, which names no code."""
    return lambda exchange: reply_error(status, "The request cannot be processed under our terms.", "invalid_request_error")


def unsupported(*formats: str) -> Fault:
    """A server without these response formats: 400 where a request asks for one of them, the right reply elsewhere."""

    def fault(exchange: Exchange) -> Reply | None:
        asked = (exchange.body.get("response_format") or {}).get("type")
        if asked not in formats:
            return None
        message = f"Invalid parameter: 'response_format' of type '{asked}' is not supported with this model."
        return reply_error(400, message, "invalid_request_error")

    return fault


def refuses(name: str, style: str) -> Fault:
    """A server that does not take a parameter, and says so in the style of OpenAI, FastAPI (Mistral) or vLLM."""
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    detail = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": 1}
    status, body = {
        "openai": (400, {"error": {"message": message, "type": "x", "param": name, "code": "unsupported_parameter"}}),
        "fastapi": (422, {"detail": [detail]}),
        "vllm": (400, {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}),
    }[style]
    return lambda exchange: reply_json(status, body) if name in exchange.body else None


def endless(head: bytes, part: bytes) -> Fault:
    """A reply that begins like any and does not end."""
    return lambda exchange: Reply(((0.0, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head), (0.0, part)), ENDLESS)


@lru_cache
def blanks(wbits: int) -> bytes:
    """64 MiB of blanks, packed."""
    packer = zlib.compressobj(1, wbits=wbits)
    return b"".join([*(packer.compress(b" " * 2**20) for _ in range(64)), packer.flush()])


def bomb(encoding: str, wbits: int) -> Fault:
    """The right reply after 64 MiB of blanks, which JSON allows; packed it is small. Only for gzip, whose parts may follow one
    another; deflate has the blanks alone."""

    def fault(exchange: Exchange) -> Reply:
        packed = blanks(wbits)
        if encoding == "gzip":
            packer = zlib.compressobj(wbits=wbits)
            packed += packer.compress(right_payload(exchange)) + packer.flush()
        return Reply(((0.0, http_bytes(200, packed, headers=f"Content-Encoding: {encoding}\r\n")),))

    return fault


def cut_off(where: str, after: str) -> Fault:
    """The right reply up to a point ("nothing", "head", or "half" of the body), then the connection's end or silence."""

    def fault(exchange: Exchange) -> Reply:
        payload = right_payload(exchange)
        whole = http_bytes(200, payload)
        sent = {"nothing": 0, "head": len(whole) - len(payload), "half": len(whole) - len(payload) // 2}[where]
        return Reply(((0.0, whole[:sent]),) if sent else (), after, SETTLE_SECONDS if after == RESET and sent else 0.0)

    return fault


def trickle(exchange: Exchange) -> Reply:
    whole = http_bytes(200, right_payload(exchange))
    return Reply([(exchange.trickle_seconds, whole[i : i + 1]) for i in range(len(whole))])


def trickle_body(exchange: Exchange) -> Reply:
    payload = right_payload(exchange)
    whole = http_bytes(200, payload)
    bytewise = [(exchange.trickle_seconds, payload[i : i + 1]) for i in range(len(payload))]
    return Reply([(0.0, whole[: len(whole) - len(payload)]), *bytewise])


def with_payload(change: Callable[[bytes], bytes], content_type: str = "application/json") -> Fault:
    """Status 200 and the right reply's body after a change."""
    return lambda exchange: Reply(((0.0, http_bytes(200, change(right_payload(exchange)), content_type)),))


def chunks(payload: bytes, size: int = 100) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(payload[i : i + size]), payload[i : i + size]) for i in range(0, len(payload), size))


def chunked(exchange: Exchange) -> Reply:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = chunks(right_payload(exchange)) + b"0\r\n\r\n"
    return Reply(((0.0, head + body[:50]), (0.001, body[50:151]), (0.001, body[151:])))


def chunked_cut(exchange: Exchange) -> Reply:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Reply(((0.0, head + chunks(right_payload(exchange))),), CLOSE)  # all bytes, but not the chunk that says so


def length_long(exchange: Exchange) -> Reply:
    payload = right_payload(exchange)
    return Reply(((0.0, http_bytes(200, payload, length=len(payload) + 64)),), CLOSE)


def length_short(exchange: Exchange) -> Reply:
    payload = right_payload(exchange)
    return Reply(((0.0, http_bytes(200, payload, length=len(payload) // 2)),))


def server_error(exchange: Exchange) -> Reply:
    return reply_error(500, "The server had an error while processing your request.", "server_error")


def error_in_200(exchange: Exchange) -> Reply:
    return reply_json(
        200, {"error": {"message": "The engine is overloaded.", "type": "server_error", "param": None, "code": None}}
    )


HTTP_FAULTS: dict[str, Fault] = {
    "429": lambda exchange: too_many(),
    "429_seconds": too_many_seconds,
    "429_date": too_many_date,
    "429_nonsense": lambda exchange: too_many("Retry-After: soon\r\n"),
    "429_zero": busy(429, "Retry-After: 0"),
    "429_negative": busy(429, "Retry-After: -7"),
    "429_past": busy(429, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"),
    "429_no_date": busy(429, "Retry-After: Fri, 31 Dec 99999999 23:59:59 GMT"),
    "429_days": busy(429, "Retry-After: 259200"),
    "500_zero": busy(500, "Retry-After: 0"),
    "500_days": busy(500, "Retry-After: 259200"),
    "529_ages": busy(529, "retry-after-ms: 1e15"),
    "429_quota": quota,
    "500": server_error,
    "503_html": lambda exchange: Reply(((0.0, http_bytes(503, HTML, "text/html")),)),
    "200_html": with_payload(lambda payload: HTML, "text/html"),
    "200_error": error_in_200,
    "401_key": key_echoed,
    "400_context": context_exceeded,
    "400_content_filter": filtered_prompt,
    "400_policy": policy(400),
    "403_firewall": lambda exchange: Reply(((0.0, http_bytes(403, HTML, "text/html")),)),
    "413_html": lambda exchange: Reply(((0.0, http_bytes(413, HTML, "text/html")),)),
    "422_policy": policy(422),
    "451_policy": policy(451),
    "400_json_schema": unsupported("json_schema"),
    "400_response_format": unsupported("json_schema", "json_object"),
    "400_max_tokens": refuses("max_tokens", "openai"),
    "400_max_tokens_top": refuses("max_tokens", "vllm"),
    "422_max_tokens": refuses("max_tokens", "fastapi"),
    "422_max_completion_tokens": refuses("max_completion_tokens", "fastapi"),
    "400_temperature": refuses("temperature", "openai"),
    "400_logprobs": refuses("logprobs", "vllm"),
    "400_context_top": lambda exchange: reply_json(400, {"object": "error", "message": CONTEXT, "type": "BadRequestError"}),
    "endless": endless(b"\r\n", b" " * 2**16),
    "endless_chunked": endless(b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 2**16 + b"\r\n"),
    "endless_chunks": endless(b"Transfer-Encoding: chunked\r\n\r\n", (b"40\r\n" + b" " * 64 + b"\r\n") * 2**10),
    "endless_head": endless(b"", b"X-More: and more\r\n" * 2**10),
    "endless_line": endless(b"X-More: ", b"x" * 2**16),
    "endless_error": lambda exchange: Reply(((0.0, b"HTTP/1.1 400 Bad\r\n\r\n"), (0.0, b"x" * 2**16)), ENDLESS),
    "gzip_bomb": bomb("gzip", 31),
    "gzip_endless": lambda exchange: endless(b"Content-Encoding: gzip\r\n\r\n", blanks(31))(exchange),  # packed when it is wanted
    "deflate_bomb": bomb("deflate", 15),
    "encoding_unknown": endless(b"Content-Encoding: br\r\n\r\n", b"x" * 2**16),
    "empty_body": with_payload(lambda payload: b""),
    "bad_json": with_payload(lambda payload: payload[:-2] + b",}"),
    "close_before": cut_off("nothing", CLOSE),
    "reset_before": cut_off("nothing", RESET),
    "reset_head": cut_off("head", RESET),
    "reset_amid": cut_off("half", RESET),
    "hang": cut_off("nothing", HANG),
    "hang_amid": cut_off("half", HANG),
    "trickle": trickle,
    "trickle_body": trickle_body,
    "chunked": chunked,
    "chunked_cut": chunked_cut,
    "content_length_long": length_long,
    "content_length_short": length_short,
}
