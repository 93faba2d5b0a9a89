"""Receivers of pages for tests: each robot's documented API as a fake that checks signatures, lengths and rates as the real
one.

A rate that is passed brings a ban, as DingTalk's and WeCom's do: whoever only retries never gets out of it.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

FEISHU_SECRET, DING_SECRET = "feishu-secret-0123456789", "SEC0123456789abcdef"


@dataclass
class Seen:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: Any
    at_s: float


@dataclass
class Receiver:
    """What came, and how to answer: ``answers`` are given first, each once, as (status, headers, body); then ``judge``
    decides."""

    judge: Callable[[Seen], tuple[int, Any]]
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    taken: list[Seen] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], Any]] = field(default_factory=list)
    slow_s: float = 0.0


@contextmanager
def receiving(judge: Callable[[Seen], tuple[int, Any]]) -> Iterator[Receiver]:
    """A receiver on a loopback port."""
    receiver = Receiver(judge)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            body = json.loads(raw) if raw else None
            headers = {key.lower(): text for key, text in self.headers.items()}
            one = Seen(self.path, headers | {"raw": raw.decode()}, body, time.time())
            receiver.seen.append(one)
            time.sleep(receiver.slow_s)
            status, more, said = receiver.answers.pop(0) if receiver.answers else (*_answer(receiver, one),)
            if 200 <= status < 300 and not (isinstance(said, dict) and (said.get("errcode") or said.get("code"))):
                receiver.taken.append(one)
            text = json.dumps(said).encode()
            self.send_response(status)
            for key, value in {"Content-Length": str(len(text)), "Content-Type": "application/json", **more}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(receiver: Receiver, one: Seen) -> tuple[int, dict[str, str], Any]:
    status, said = receiver.judge(one)
    return status, {}, said


class Rate:
    """So many a minute, else nothing for ``ban_s`` (0: only until the minute is over). ``clock`` gives s."""

    def __init__(self, per_minute: int, ban_s: float, clock: Callable[[], float]) -> None:
        self.per_minute, self.ban_s, self.clock = per_minute, ban_s, clock
        self.times: list[float] = []
        self.until_s, self.bans = -1.0, 0

    def over(self) -> bool:
        """Count one; whether it is too much."""
        now_s = self.clock()
        if now_s < self.until_s:
            return True
        self.times = [t for t in self.times if now_s - t < 60.0]
        if len(self.times) >= self.per_minute:
            self.until_s, self.bans = now_s + self.ban_s, self.bans + 1
            return True
        self.times.append(now_s)
        return False


def feishu(clock: Callable[[], float], rate: Rate | None = None) -> Callable[[Seen], tuple[int, Any]]:
    """open.feishu.cn, custom bot: signature over "timestamp\\nsecret" as key; 20 KB; 100 a minute."""

    def judge(one: Seen) -> tuple[int, Any]:
        body = one.body
        if rate and rate.over():
            return 200, {"code": 11232, "msg": "frequency limited psm"}
        if len(one.headers["raw"].encode()) > 20_000:
            return 200, {"code": 9499, "msg": "Bad Request"}
        key = f"{body['timestamp']}\n{FEISHU_SECRET}".encode()
        mark = base64.b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode()
        if mark != body["sign"] or abs(clock() - int(body["timestamp"])) > 3600:
            return 200, {"code": 19021, "msg": "sign match fail or timestamp is not within one hour from current time"}
        assert body["msg_type"] == "interactive"
        assert body["card"]["elements"][0]["tag"] == "markdown"
        return 200, {"code": 0, "msg": "success", "data": {}}

    return judge


def dingtalk(clock: Callable[[], float], rate: Rate | None = None) -> Callable[[Seen], tuple[int, Any]]:
    """open.dingtalk.com, custom robot: signature over "timestamp\\nsecret" in the query; 20 a minute, else ten minutes of
    nothing."""

    def judge(one: Seen) -> tuple[int, Any]:
        if rate and rate.over():
            return 200, {"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"}
        asked = parse_qs(urlsplit(one.path).query)
        stamp = asked["timestamp"][0]
        text = f"{stamp}\n{DING_SECRET}".encode()
        mark = base64.b64encode(hmac.new(DING_SECRET.encode(), text, hashlib.sha256).digest()).decode()
        if asked["access_token"] != ["tok"] or asked["sign"] != [mark] or abs(clock() * 1000 - int(stamp)) > 3_600_000:
            return 200, {"errcode": 310000, "errmsg": "sign not match, more: [https://ding-doc.dingtalk.com]"}
        if len(one.body["markdown"]["text"].encode()) > 20_000:
            return 200, {"errcode": 460101, "errmsg": "message too long"}
        return 200, {"errcode": 0, "errmsg": "ok"}

    return judge


def wecom(rate: Rate | None = None) -> Callable[[Seen], tuple[int, Any]]:
    """developer.work.weixin.qq.com, group robot: a key in the URL; Markdown of 4,096 bytes; images with their MD5; 20 a
    minute."""

    def judge(one: Seen) -> tuple[int, Any]:
        if rate and rate.over():
            return 200, {"errcode": 45009, "errmsg": "api freq out of limit"}
        if parse_qs(urlsplit(one.path).query).get("key") != ["k-1"]:
            return 200, {"errcode": 93000, "errmsg": "invalid webhook url"}
        if one.body["msgtype"] == "markdown" and len(one.body["markdown"]["content"].encode()) > 4096:
            return 200, {"errcode": 40058, "errmsg": "markdown.content exceed max length 4096"}
        if one.body["msgtype"] == "image":
            raw = base64.b64decode(one.body["image"]["base64"])
            if hashlib.md5(raw).hexdigest() != one.body["image"]["md5"] or not raw.startswith(b"\x89PNG"):
                return 200, {"errcode": 301019, "errmsg": "media content md5 mismatch"}
        return 200, {"errcode": 0, "errmsg": "ok"}

    return judge


def pagerduty(one: Seen) -> tuple[int, Any]:
    """developer.pagerduty.com, Events API v2: what it insists on."""
    body, wrong = one.body, []
    if body.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        wrong.append("'event_action' is missing or invalid")
    if len(body.get("dedup_key", "")) > 255 or (body["event_action"] != "trigger" and not body.get("dedup_key")):
        wrong.append("'dedup_key' is too long or missing")
    if body["event_action"] == "trigger":
        inner = body.get("payload", {})
        if not inner.get("summary") or len(inner["summary"]) > 1024 or not inner.get("source"):
            wrong.append("'payload.summary' or 'payload.source' is missing or too long")
        if inner.get("severity") not in ("critical", "error", "warning", "info"):
            wrong.append("'payload.severity' is invalid")
    if wrong or body.get("routing_key") != "R" * 32:
        return 400, {"status": "invalid event", "message": "Event object is invalid", "errors": wrong or ["routing_key"]}
    return 202, {"status": "success", "message": "Event processed", "dedup_key": body["dedup_key"]}


def opsgenie(one: Seen) -> tuple[int, Any]:
    """docs.opsgenie.com, alert API."""
    if one.headers.get("authorization") != "GenieKey og-key":
        return 403, {"message": "Key format is not valid!"}
    if one.path.rstrip("/").endswith("/v2/alerts"):
        body = one.body
        if not body.get("message") or len(body["message"]) > 130 or len(body["alias"]) > 512:
            return 422, {"message": "Request body is not processable. Please check the errors."}
        if body["priority"] not in ("P1", "P2", "P3", "P4", "P5"):
            return 422, {"message": "priority"}
    elif "identifierType=alias" not in one.path:
        return 404, {"message": "Alert not found"}
    return 202, {"result": "Request will be processed", "took": 0.1, "requestId": "1"}


def slack(one: Seen) -> tuple[int, Any]:
    """api.slack.com, incoming webhooks: blocks within their lengths."""
    for block in one.body["blocks"]:
        text = block.get("text", {}).get("text", "")
        if len(text) > (150 if block["type"] == "header" else 3000) or len(one.body["blocks"]) > 50:
            return 400, "invalid_blocks"
    return 200, "ok"


def teams(one: Seen) -> tuple[int, Any]:
    """A Teams workflow: an adaptive card of at most 28 KB."""
    (attached,) = one.body["attachments"]
    if len(one.headers["raw"]) > 28_000:
        return 413, "RequestEntityTooLarge"
    right = (
        attached["contentType"] == "application/vnd.microsoft.card.adaptive" and attached["content"]["type"] == "AdaptiveCard"
    )
    return (202, "") if right else (400, "Bad payload")


def anything(one: Seen) -> tuple[int, Any]:
    """Takes what comes."""
    return 200, {}
