"""A Redfish service over HTTP that serves mockups, for tests."""

import asyncio
import json
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer
from devices import Serving, opened


class Mockup(Serving):
    """A folder (or one file) of ``index.json``s as a service: sessions, ETags with 304, PATCH of set points, a stream of
    events."""

    def __init__(self, where, *, user=""):
        if Path(where).is_file():
            self.bodies = json.loads(Path(where).read_text())
        else:
            self.bodies = {
                ("/redfish/v1/" + path.parent.relative_to(where).as_posix()).removesuffix("/."): json.loads(path.read_text())
                for path in Path(where).rglob("index.json")
            }
        self.user, self.sessions, self.requests, self.full = user, {}, [], 0
        self.broken = set()  # paths that are answered with 500
        self.tag_of = lambda body: f'"{hash(json.dumps(body))}"'
        self.events = asyncio.Queue()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._server = TestServer(app, host="127.0.0.1")

    async def _handle(self, request):
        path = request.path.rstrip("/")
        self.requests.append((request.method, path))
        if path.endswith("/Sessions") and request.method == "POST":
            return self._login(await request.json())
        if self.user and request.headers.get("X-Auth-Token") not in self.sessions:
            return web.json_response({"error": {"message": "log in"}}, status=401)
        if request.method == "DELETE":
            del self.sessions[request.headers["X-Auth-Token"]]
            return web.Response(status=204)
        if path in self.broken:
            return web.json_response({"error": {"message": "internal error"}}, status=500)
        if path == "/sse":
            return await self._stream(request)
        if path not in self.bodies:
            return web.json_response({}, status=404)
        body = self.bodies[path]
        tag = self.tag_of(body)
        if request.method == "PATCH":
            return self._patch(body, await request.json(), request.headers.get("If-Match") == tag)
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304)
        self.full += 1
        return web.json_response(body, headers={"ETag": tag})

    def _login(self, said):
        if said != {"UserName": self.user, "Password": "secret"}:
            return web.json_response({"error": {"message": "no such user"}}, status=401)
        token = f"token{len(self.sessions)}-{len(self.requests)}"
        self.sessions[token] = True
        return web.json_response(
            {}, status=201, headers={"X-Auth-Token": token, "Location": "/redfish/v1/SessionService/Sessions/1"}
        )

    def _patch(self, body, order, matches):
        if not matches:
            return web.json_response({}, status=412)
        for key, value in order.items():
            if not isinstance(value, dict) or set(value) != {"SetPoint"}:
                return web.json_response({"error": {"@Message.ExtendedInfo": [{"Message": "read only"}]}}, status=400)
            body[key]["SetPoint"] = value["SetPoint"]
        return web.Response(status=204)

    async def _stream(self, request):
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        while (event := await self.events.get()) is not None:
            await answer.write(event)
        return answer


def cdu(service, **options):
    return opened("redfish", targets={service.url: "cdu"}, events=False, **options)
