"""An OpenID Connect provider as strict as a real one: exact redirects, one-time codes, PKCE required, the client's secret,
RS256."""

import base64
import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "icctwin", "a secret of the client"


@dataclass
class Provider:
    """``claims``: what it says of whoever signs in; ``bend``: what to say wrongly, for tests of what must be refused."""

    redirect: str
    now: Any
    claims: dict[str, Any] = field(default_factory=lambda: {"sub": "u-1", "preferred_username": "wang.lei", "groups": ["noc"]})
    bend: dict[str, Any] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"}))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    issuer: str = ""
    asked: list[str] = field(default_factory=list)

    def authorize(self, query: dict[str, str]) -> tuple[int, str]:
        """Where the browser is sent; the person is signed in already."""
        if query.get("client_id") != CLIENT or query.get("redirect_uri") != self.redirect:
            return 400, "unknown client or redirect"
        if (
            query.get("code_challenge_method") != "S256"
            or not query.get("code_challenge")
            or query.get("response_type") != "code"
        ):
            return 400, "PKCE with S256 is required"
        if "openid" not in query.get("scope", "").split():
            return 400, "no openid"
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        back = {"code": code, "state": query["state"], "iss": self.issuer} | self.bend.get("back", {})
        return 302, f"{self.redirect}?{urlencode(back)}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """A code for an id token, once."""
        basic = base64.b64encode(f"{CLIENT}:{SECRET.replace(' ', '+')}".encode()).decode()
        plain = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if authorization not in (f"Basic {basic}", f"Basic {plain}"):
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        )
        if asked is None or form.get("redirect_uri") != self.redirect or challenge != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now_s = int(self.now().timestamp())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now_s, "exp": now_s + 300, "nonce": asked["nonce"], **self.claims}
        header, key = {"alg": "RS256", "kid": self.key.kid}, self.key
        claims |= self.bend.get("claims", {})
        header |= self.bend.get("header", {})
        told = jwt.encode(header, claims, self.bend.get("key", key), algorithms=["RS256", "HS256"])
        return 200, {"access_token": "at", "token_type": "Bearer", "expires_in": 300, "id_token": told}

    def serve(self) -> ThreadingHTTPServer:
        """On a free port of this machine, until ``shutdown``."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                return

            def answer(self, status: int, body: Any, **headers: str) -> None:
                import json

                text = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", "content-length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self) -> None:
                at = urlsplit(self.path)
                provider.asked.append(at.path)
                if at.path == "/.well-known/openid-configuration":
                    base = provider.issuer
                    told = {"issuer": base, "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token"}
                    self.answer(200, told | {"jwks_uri": f"{base}/keys"} | provider.bend.get("about", {}))
                elif at.path == "/keys":
                    self.answer(200, {"keys": [provider.key.as_dict(private=False)]})
                else:
                    status, where = provider.authorize({key: value[0] for key, value in parse_qs(at.query).items()})
                    self.answer(status, where, **({"location": where} if status == 302 else {}))

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                status, told = provider.token(
                    {key: value[0] for key, value in form.items()}, self.headers.get("authorization", "")
                )
                self.answer(status, told)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


def rotate(provider: Provider) -> None:
    """Another key from now on."""
    provider.key = RSAKey.generate_key(2048, {"kid": f"k{time.monotonic_ns()}", "use": "sig", "alg": "RS256"})
