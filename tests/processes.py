"""What tests of whole programs share: an answer, and the patience to wait for one."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any


def get_json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read())


def until(what: str, found: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if answer := found():
                return answer
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"not seen within {seconds} s: {what}")
