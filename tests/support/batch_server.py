"""The Batch endpoint for the fault server: files, batches, and what can go wrong with them."""

from __future__ import annotations

import email.parser
import email.policy
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from fault_server import FAULTS, Call, FaultServer, Reply
from http_faults import Exchange, completion, http_bytes, reply_error, reply_json


@dataclass
class BatchServer:
    """Adds /v1/files and /v1/batches to a server. A batch is done after `looks` looks at it.

    share: the part of the requests that get a result; with less than all of them the batch expires. status: how batches end
    where nothing expires. lose: names of calls ("upload", "start") that are carried out, but whose reply is a 500, once each.
    shuffle: results in reverse order. broken: a line that is no JSON and one with an unknown name among them. fault: of every
    result, by its name.
    """

    server: FaultServer
    looks: int = 1
    share: float = 1.0
    status: str = "completed"
    lose: set[str] = field(default_factory=set)
    broken: bool = False
    fault: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.server.fallbacks.append(self.respond)

    def respond(self, call: Call) -> Reply | None:
        path = call.path.partition("?")[0].removeprefix("/v1/").split("/")
        if call.method == "POST" and path == ["files"]:
            return self.upload(call)
        if call.method == "POST" and path == ["batches"]:
            return self.start(json.loads(call.payload))
        if call.method == "GET" and path == ["batches"]:
            newest = list(self.batches.values())[::-1]
            return reply_json(200, {"object": "list", "data": newest, "has_more": False})
        if call.method == "GET" and path[0] == "batches" and path[1] in self.batches:
            return reply_json(200, self.look(self.batches[path[1]]))
        if call.method == "GET" and path[0] == "files" and path[1] in self.files:
            return Reply(((0.0, http_bytes(200, self.files[path[1]], "application/octet-stream")),))
        return None

    def upload(self, call: Call) -> Reply:
        head = f"Content-Type: {call.headers['content-type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + call.payload)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        content = parts["file"].get_payload(decode=True)
        assert isinstance(content, bytes)
        name = f"file-{next(self.numbers)}"
        self.files[name] = content
        return self._reply(
            "upload", {"id": name, "object": "file", "bytes": 1, "created_at": 1, "filename": "x", "purpose": "batch"}
        )

    def start(self, body: dict[str, Any]) -> Reply:
        name = f"batch-{next(self.numbers)}"
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": body["endpoint"],
            "input_file_id": body["input_file_id"],
            "completion_window": "24h",
            "created_at": 1,
            "status": "validating",
            "metadata": body.get("metadata"),
            "looks": 0,
        }
        return self._reply("start", self.batches[name])

    def look(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["looks"] += 1
        if batch["looks"] >= self.looks and batch["status"] in ("validating", "in_progress"):
            self.work(batch)
        elif batch["status"] == "validating":
            batch["status"] = "in_progress"
        return batch

    def work(self, batch: dict[str, Any]) -> None:
        if self.status == "failed":
            batch["status"] = "failed"
            return
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        done = lines[: round(len(lines) * self.share)]
        self.asked += [line["body"] for line in done]
        results = [self.result(line) for line in reversed(done)]
        if self.broken:
            results[1:1] = [b'{"custom_id": "0", "resp', json.dumps({"custom_id": "elsewhere"}).encode(), b"\xff\xfe"]
        if results:
            batch["output_file_id"] = self._file(results)
        missing = [
            json.dumps({"custom_id": line["custom_id"], "response": None, "error": {"code": "batch_expired"}}).encode()
            for line in lines[len(done) :]
        ]
        if missing:
            batch["error_file_id"] = self._file(missing)
        batch["status"] = "expired" if missing else self.status

    def result(self, line: dict[str, Any]) -> bytes:
        exchange = Exchange(line["body"], {}, self.server.answerer(line["body"]))
        reply = FAULTS[self.fault](exchange) if self.fault else None
        body = completion(exchange) if reply is None else json.loads(reply.parts[0][1].partition(b"\r\n\r\n")[2])
        return json.dumps(
            {"id": "x", "custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}
        ).encode()

    def _file(self, lines: list[bytes]) -> str:
        name = f"file-{next(self.numbers)}"
        self.files[name] = b"\n".join(lines) + b"\n"
        return name

    def _reply(self, call: str, value: dict[str, Any]) -> Reply:
        if call in self.lose:
            self.lose.remove(call)
            return reply_error(500, "lost", "server_error")
        return reply_json(200, value)
