"""Sign-in at an identity provider: OpenID Connect Core 1.0, authorization code flow with PKCE (RFC 7636), by authlib and
joserfc.

What a browser must bring back (state, nonce, verifier) lies in a sealed cookie of its own, so that any process of the centre
can take it back, and a sign-in that somebody else began cannot be ended in this browser.
"""

import base64
import json
import secrets
import threading  # noqa: TID251 - one thread asks what all others of the lane wait for
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeGuard

from starlette.responses import RedirectResponse, Response

from twin.errors import SourceError
from ui.access.cookies import SIGNING, Cookies
from ui.access.desk import Access
from ui.access.lanes import Lane
from ui.access.people import LONGEST_NAME
from ui.access.role import ROLES, Identity, Role, Sort, role_of
from ui.access.section import OidcSection
from ui.access.signin import Caller, NotIn, enter

BACK = "/sign-in/oidc/back"
LASTS_S = 600.0  # between going to the provider and coming back
KNOWN_S = 3600.0  # how long what the provider says of itself is believed
FAILED_S = 30.0  # how long it is believed that it does not answer
AT_ONCE = 8  # threads that may wait for it; more who sign in are told to come again
LEEWAY_S = 60
_WAIT_S = 10.0
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")  # asymmetric alone, and never none
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True)
class _Provider:
    about: Mapping[str, Any]
    keys: Any
    read_s: float


class Oidc:
    """One provider. Its methods take seconds: for threads of its ``lane``, so that one that hangs holds up nobody else."""

    def __init__(self, section: OidcSection) -> None:
        from authlib.integrations.requests_client import OAuth2Session

        self._session, self.section = OAuth2Session, section
        self._provider: _Provider | None = None
        self._reading = threading.Lock()  # one asks what all wait for
        self._failed: tuple[float, str] | None = None  # when and why it could not be read
        self.lane = Lane(AT_ONCE, waiting=0)

    def go(self, access: Access, home: str, after: str, now: datetime) -> Response:
        """Send the browser to the provider; ``home``: our own address, ``after``: the page to go to in the end."""
        from authlib.common.security import generate_token

        about = self._about(now).about
        kept = {"state": generate_token(32), "nonce": generate_token(32), "verifier": generate_token(64), "after": after}
        with self._client(home) as client:
            url, _ = client.create_authorization_url(
                about["authorization_endpoint"], state=kept["state"], code_verifier=kept["verifier"], nonce=kept["nonce"]
            )
        answer = RedirectResponse(url, 303)
        text = base64.urlsafe_b64encode(json.dumps(kept | {"end_s": now.timestamp() + LASTS_S}).encode()).decode()
        Cookies(access.section).set(answer, SIGNING, f"{text}.{access.seal('signing ' + text, now)}", LASTS_S)
        return answer

    def back(self, access: Access, caller: Caller, home: str, query: Mapping[str, str], now: datetime) -> Response:
        """The browser comes back with a code: the session, or ``NotIn``."""
        kept = self._kept(access, caller, now)
        if not secrets.compare_digest(query.get("state", "").encode(), kept["state"].encode()):
            raise NotIn(403, "This sign-in was not begun in this browser; begin again at /sign-in.")
        if query.get("iss", self.section.issuer) != self.section.issuer:  # RFC 9207
            raise NotIn(403, "Another identity provider answered than was asked; begin again at /sign-in.")
        if "error" in query or not query.get("code"):
            raise NotIn(403, f"The identity provider refused: {query.get('error', 'no code')[:100]}.")
        claims = self._claims(home, query["code"], kept, now)
        role = self._role(claims)
        name = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])
        try:
            user = access.users.vouched(self.section.issuer, str(claims["sub"]), name, role, now)
        except ValueError as error:
            who = Identity("", name[:LONGEST_NAME], Role.NOBODY, frozenset(), Sort.NOBODY)
            about = f"oidc {self.section.issuer} {claims['sub']}"
            access.records.note(who, caller.address, "sign-in refused", now, about=about)
            raise NotIn(403, f"{error}.") from None
        answer = RedirectResponse(kept["after"], 303)
        enter(access, caller, user, answer, now, f"oidc {self.section.issuer}")
        Cookies(access.section).forget(answer, SIGNING)
        return answer

    def _kept(self, access: Access, caller: Caller, now: datetime) -> dict[str, Any]:
        text, _, seal = caller.cookies.get(SIGNING).partition(".")
        if not text or not secrets.compare_digest(seal.encode(), access.seal("signing " + text, now).encode()):
            raise NotIn(403, "This sign-in was not begun in this browser; begin again at /sign-in.")
        kept: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text))
        if now.timestamp() > kept["end_s"]:
            raise NotIn(403, f"This sign-in took over {LASTS_S / 60:.0f} minutes; begin again at /sign-in.")
        return kept

    def _client(self, home: str) -> Any:
        secret = _secret(self.section.client_secret_file) if self.section.client_secret_file else None
        return self._session(
            self.section.client_id,
            secret,
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            scope=" ".join(self.section.scopes),
            redirect_uri=home + BACK,
            code_challenge_method="S256",
            default_timeout=_WAIT_S,
        )

    def _about(self, now: datetime, *, anew: bool = False) -> _Provider:
        """What the provider says of itself, and its keys."""
        known, now_s = self._provider, now.timestamp()
        if not anew and _fresh(known, now_s):
            return known
        with self._reading:
            if self._provider is not known and _fresh(self._provider, now_s):
                return self._provider  # another has read it meanwhile
            if self._failed is not None and 0 <= now_s - self._failed[0] < FAILED_S:
                raise SourceError(self._failed[1])
            try:
                self._provider = self._read(now_s)
            except SourceError as error:
                self._failed = now_s, str(error)
                raise
            self._failed = None
            return self._provider

    def _read(self, now_s: float) -> _Provider:
        from joserfc.jwk import KeySet

        about = self._get(self.section.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if about.get("issuer") != self.section.issuer:
            raise SourceError(f"{self.section.issuer} calls itself {str(about.get('issuer'))[:100]!r}; write that as issuer")
        if missing := [name for name in _ENDPOINTS if not isinstance(about.get(name), str)]:
            raise SourceError(f"{self.section.issuer} names no {missing[0]}; it is no OpenID Connect provider that we can use")
        keys = KeySet.import_key_set(self._get(about["jwks_uri"]))  # type: ignore[arg-type]
        return _Provider(about, keys, now_s)

    def _get(self, url: str) -> dict[str, Any]:
        import requests

        try:
            with requests.get(url, timeout=_WAIT_S, allow_redirects=False, stream=True) as answer:
                answer.raise_for_status()
                text = answer.raw.read(1 << 20, decode_content=True)
            found = json.loads(text)
        except (requests.RequestException, ValueError, OSError) as error:
            raise SourceError(f"the identity provider does not answer at {url} ({type(error).__name__}); is it up?") from None
        if not isinstance(found, dict):
            raise SourceError(f"the identity provider gives no JSON object at {url}")
        return found

    def _claims(self, home: str, code: str, kept: Mapping[str, str], now: datetime) -> Mapping[str, Any]:
        """What the provider says of who signed in, once everything about it is checked."""
        import requests
        from authlib.common.errors import AuthlibBaseError
        from joserfc.errors import JoseError

        about = self._about(now).about
        try:
            with self._client(home) as client:
                told = client.fetch_token(about["token_endpoint"], code=code, code_verifier=kept["verifier"])
            token = told.get("id_token", "")
            try:
                return self._checked(token, told, kept["nonce"], self._about(now), now)
            except JoseError:  # its keys may have been changed since they were read
                return self._checked(token, told, kept["nonce"], self._about(now, anew=True), now)
        except (AuthlibBaseError, JoseError, ValueError) as error:
            raise NotIn(403, f"What the identity provider says does not hold: {str(error)[:200]}.") from None
        except (requests.RequestException, OSError) as error:
            raise SourceError(f"the identity provider gives no token ({type(error).__name__}); is it up?") from None

    def _checked(
        self, token: str, told: Mapping[str, Any], nonce: str, provider: _Provider, now: datetime
    ) -> Mapping[str, Any]:
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt

        found = jwt.decode(token, provider.keys, algorithms=list(_ALGORITHMS))
        options = {
            "iss": {"essential": True, "value": self.section.issuer},
            "aud": {"essential": True, "value": self.section.client_id},
            "nonce": {"essential": True, "value": nonce},
        }
        params = {"nonce": nonce, "client_id": self.section.client_id, "access_token": told.get("access_token")}
        claims = CodeIDToken(found.claims, found.header, options, params)
        claims.validate(now=int(now.timestamp()), leeway=LEEWAY_S)
        return found.claims

    def _role(self, claims: Mapping[str, Any]) -> Role:
        said = claims.get(self.section.role_claim, [])
        words = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        given = [role_of(self.section.roles[word]) for word in words if word in self.section.roles]
        role = max(given, default=ROLES.get(self.section.default_role, Role.NOBODY))
        if role is Role.NOBODY:
            raise NotIn(403, f"None of your {self.section.role_claim} has a role here; ask whoever administers icctwin.")
        return role


def _fresh(provider: _Provider | None, now_s: float) -> TypeGuard[_Provider]:
    return provider is not None and now_s - provider.read_s < KNOWN_S


def _secret(path: Path) -> str:
    """Read anew each time, so that it may be rotated."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the client's secret {path} cannot be read ({error}); name a readable text file") from None
