"""Whether the wall of a configuration answers: what a container engine asks every few seconds, so it reads no more of the
configuration than ``[wall]``, and imports next to nothing.
"""

import ssl
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

from twin.errors import SourceError

HOST, PORT = "127.0.0.1", 8050  # what ``[wall]`` has where it says nothing; a test holds them against ui.config
EVERYWHERE = {"0.0.0.0": HOST, "::": "[::1]"}  # noqa: S104 - addresses that are listened on, and where that is asked
WAIT_S = 4.0


def ask(config: Path) -> str:
    """The address at which the wall said that it lives; without the file it is asked where it is by default. ``SourceError``
    where it does not answer, or the file cannot be read."""
    wall = _wall(config)
    host = str(wall.get("host", HOST))
    host = EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
    certificate = wall.get("tls_cert")
    url = f"http{'s' if certificate else ''}://{host}:{wall.get('port', PORT)}/healthz"
    try:
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_trusting(config, certificate)))
        with urllib.request.build_opener(*handlers).open(url, timeout=WAIT_S):
            return url
    except (OSError, ValueError) as error:
        raise SourceError(f"{url} does not say that the wall lives: {error}") from error


def _wall(config: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(config.read_text(encoding="utf-8")).get("wall", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SourceError(f"{config} cannot be read: {error}") from error
    return table if isinstance(table, dict) else {}


def _trusting(config: Path, certificate: str | None) -> ssl.SSLContext | None:
    """The wall's own certificate and no other, whatever name it has: it is asked at its own machine."""
    if certificate is None:
        return None
    made = ssl.create_default_context(cafile=str(config.resolve().parent / certificate))
    made.check_hostname = False
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return made
