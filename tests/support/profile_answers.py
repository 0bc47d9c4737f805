"""What the fault server's model says when asked for profiles and for vectors: by the texts alone, the same in every process."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from answerers import Body, numbered_lines
from fault_server import Call, FaultServer, Reply
from http_faults import reply_error, reply_json

DIMENSIONS = 8


def profile_of(text: str) -> dict[str, Any]:
    """The right profile of an item's text."""
    words = re.findall(r"[a-z]+", text.lower())
    return {
        "profile": f"This is about {' '.join(words[:8])}. For those who like {words[-1] if words else 'nothing'}.",
        "tags": list(dict.fromkeys(words))[:4] or ["none"],
    }


def profile_answerer(body: Body) -> str:
    """An answerer for requests of profiles, whatever the format that they ask for, and for the harmless one."""
    texts = list(numbered_lines(body)[0].values())
    return json.dumps(profile_of(texts[0])) if texts else "yes"


def vector_of(text: str) -> list[float]:
    """The right vector of a text, not of length 1."""
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
    return [round(float(value), 6) for value in 3 * np.random.default_rng(seed).standard_normal(DIMENSIONS)]


@dataclass
class Embeddings:
    """Adds /v1/embeddings to a server. change: of the list of entries in a reply, for faults. fails: how many calls get a 500."""

    server: FaultServer
    change: Callable[[list[dict[str, Any]]], Any] = lambda entries: entries
    fails: int = 0
    asked: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.routes["POST", "/v1/embeddings"] = self.respond

    def respond(self, call: Call) -> Reply:
        body = json.loads(call.payload)
        if self.fails:
            self.fails -= 1
            return reply_error(500, "The server had an error.", "server_error")
        self.asked.append(body["input"])
        entries = [{"object": "embedding", "index": at, "embedding": vector_of(text)} for at, text in enumerate(body["input"])]
        tokens = sum(-(-len(text) // 4) for text in body["input"])
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return reply_json(200, {"object": "list", "data": self.change(entries), "model": body["model"], "usage": usage})
