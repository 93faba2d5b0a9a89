"""The cookies that we set: never read by script, never sent along with another site's requests that change something."""

from collections.abc import Mapping

from starlette.responses import Response

from ui.access.section import AccessSection

SESSION, DEVICE, KIOSK, SIGNING = "session", "device", "kiosk", "signing"


class Cookies:
    """By name. With TLS their names begin with ``__Host-``: no other host and no plain connection can set them (RFC
    6265bis)."""

    def __init__(self, section: AccessSection, sent: Mapping[str, str] | None = None) -> None:
        self._secure, self._sent = section.secure, sent or {}

    def _name(self, name: str) -> str:
        return f"{'__Host-' if self._secure else ''}icctwin-{name}"

    def get(self, name: str) -> str:
        """What the browser sent; "" for nothing."""
        return self._sent.get(self._name(name), "")

    def set(self, answer: Response, name: str, value: str, age_s: float | None = None) -> None:
        """Have the browser keep it for ``age_s`` (None: until it is closed)."""
        age = None if age_s is None else max(int(age_s), 0)
        answer.set_cookie(self._name(name), value, age, path="/", secure=self._secure, httponly=True, samesite="lax")

    def forget(self, answer: Response, name: str) -> None:
        """Have the browser forget it."""
        answer.delete_cookie(self._name(name), path="/", secure=self._secure, httponly=True, samesite="lax")
