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
EVERYWHERE = {"0.0.0.0": HOST, "::": "[::1]"}  # noqa: S104  # nosec B104 - addresses that are listened on, and where that is asked
WAIT_S = 4.0


def ask(config: Path) -> str:
    """The address at which the wall said that it lives; without the file it is asked where it is by default. ``SourceError``
    where it does not answer, or the file cannot be read."""
    wall = _wall(config)
    host = str(wall.get("host", HOST))
    host = EVERYWHERE.get(host, f"[{host}]" if ":" in host else host)
    url = f"http{'s' if wall.get('tls_cert') else ''}://{host}:{wall.get('port', PORT)}/healthz"
    try:
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_unproven()))
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


def _unproven() -> ssl.SSLContext:
    """Whether somebody answers is asked at our own machine, and nothing is told there that others may not hear. A certificate
    would prove nothing more: the files may be newer than what is served, or broken, and a wall that lives must not be ended
    for that."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made
