"""The languages that faces speak, and the one way in which numbers become text.

English is written in the code and is the key; other languages are gettext catalogues
(``locale/<locale>/LC_MESSAGES/icctwin.po``) read as they are at start, so that there is no compiled file to forget.
"""

import gettext
import io
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from babel.dates import format_datetime, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import get_decimal_symbol, get_group_symbol

from twin.message import Message
from twin.metrics import UNITS, metric, suffix
from ui.reading import DERIVED_UNITS, Reading

LANGUAGES: Mapping[str, str] = {"en": "en", "zh": "zh_CN"}  # as faces name them -> locale
LOCALES = Path(__file__).parent / "locale"
_MINUS = re.compile(r"(?<![\w.,-])-(?=\d)")  # a hyphen before a number; not that of "2026-11", "a-3", "--2"
_NOUGHT = re.compile(r"(?<![\w.,])[-\u2212+](0(?:\.0+)?)(?![\d.,]*\d)")  # as "-0" and "+0.0": a number that has no sign
DASH = "–"  # where there is no number

# Units that take a prefix, and from which size on they take which.
_PREFIXED = ("w", "j", "bps", "bytes", "hz", "pa")
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


@dataclass(frozen=True, slots=True)
class Text:
    """A number as a face prints it: the number and, smaller, its unit. Plain text is ``str(text)``."""

    number: str
    unit: str

    def __str__(self) -> str:
        return f"{self.number}\u202f{self.unit}" if self.unit and self.unit != "%" else f"{self.number}{self.unit}"


class Words:
    """One language. ``words(language)`` gives it."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.locale = LANGUAGES[language]
        self._catalogue = _catalogue(self.locale)
        # babel's own format_decimal takes 0.1 ms a number, forty times the rest of a push
        self._signs = str.maketrans({",": get_group_symbol(self.locale), ".": get_decimal_symbol(self.locale), "-": "−"})

    def __call__(self, text: str) -> str:
        """``text`` in this language; itself where there is no translation."""
        return self._catalogue.gettext(text) if text else ""

    def metric(self, name: str) -> str:
        """What a metric of ``twin.metrics`` is called: ``supply_temp_c`` is "supply temperature", "供液温度"."""
        return self._catalogue.pgettext("metric", metric_label(name))

    def metric_says(self, kind: str, name: str) -> str:
        """What a metric of a kind is, as ``twin.metrics`` explains it."""
        return self._catalogue.pgettext("metric", metric(kind, name).doc)

    def sentence(self, message: Message) -> str:
        """A message with its numbers, and the metric that it names, in this language."""
        params = dict(message.params)
        if isinstance(name := params.get("metric"), str):
            params["metric"] = self._catalogue.pgettext("metric", name)
        return _MINUS.sub("\u2212", _NOUGHT.sub(r"\1", self(message.text).format(**params)))

    def joined(self, sentences: Iterable[str]) -> str:
        """Several sentences as one, by this language's semicolon."""
        return ("；" if self.language == "zh" else "; ").join(sentences)

    def quantity(self, value: float, unit: str) -> Text:
        """``value`` in ``unit`` (a suffix as in ``twin.metrics.UNITS``) with three significant digits or more, SI prefix
        and this language's separators: 4213000 W is "4.21 MW", 0.634 is "63%", 5400 s is "1.5 h"."""
        if not math.isfinite(value):
            return Text(DASH, "")
        if unit == "frac":
            return Text(self._decimal(value * 100, 1 if abs(value) < 0.1 else 0), "%")
        if unit == "s":
            return self._span(value)
        if unit in _PREFIXED:
            return self._prefixed(value, unit)
        digits = {"count": 0, "code": 0, "flag": 0, "ratio": 3, "c": 1, "k": 1, "tco2_per_h": 2}.get(unit)
        return Text(self._decimal(value, _digits(value) if digits is None else digits), self(SYMBOLS[unit]))

    def reading(self, reading: Reading) -> Text:
        """A reading's number; whether it may be shown as current is for ``reading.fresh``."""
        return self.quantity(reading.value, reading.unit)

    def age(self, seconds: float) -> str:
        """How long ago: "12 s", "3 min", "2 h", "5 d"; "never" where it never was."""
        return str(self._span(max(seconds, 0.0), whole=True)) if math.isfinite(seconds) else self("never")

    def clock(self, time: datetime, zone: ZoneInfo, seconds: bool = False) -> str:
        """Time of day in ``zone``, 24 hours."""
        return format_time(time.astimezone(zone), "HH:mm:ss" if seconds else "HH:mm", tzinfo=zone, locale=self.locale)

    def day(self, time: datetime, zone: ZoneInfo) -> str:
        """Day of the week and date in ``zone``."""
        pattern = "M月d日 EEEE" if self.language == "zh" else "EEE d MMM"
        return format_datetime(time, pattern, tzinfo=zone, locale=self.locale)

    def _decimal(self, value: float, digits: int) -> str:
        return f"{round(value, digits) + 0.0:,.{digits}f}".translate(self._signs)  # + 0.0: no "-0"

    def _prefixed(self, value: float, unit: str) -> Text:
        size = abs(value)
        scale, prefix = next(((s, p) for s, p in _PREFIXES if size >= s * 0.9995), (1.0, ""))
        if scale == 1.0:
            return Text(self._decimal(value, 0), self(SYMBOLS[unit]))
        return Text(self._decimal(value / scale, _digits(value / scale)), prefix + SYMBOLS[unit])

    def _span(self, seconds: float, whole: bool = False) -> Text:
        if not whole and 0 < abs(seconds) < 0.9995:
            return Text(self._decimal(seconds * 1e3, 0), "ms")
        for scale, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
            if abs(seconds) >= scale * (2 if whole and scale > 60 else 1):
                count = seconds / scale
                return Text(self._decimal(math.floor(count) if whole else count, 0 if whole or count >= 10 else 1), self(unit))
        return Text(self._decimal(seconds, 0 if whole or abs(seconds) >= 10 or seconds == 0 else 1), self("s"))


SYMBOLS = {**UNITS, **DERIVED_UNITS, "gco2_per_kwh": "gCO₂/kWh", "tco2_per_h": "tCO₂/h", "tco2": "tCO₂"}


_SPELT = {
    "temp": "temperature", "util": "utilisation", "mem": "memory", "diff": "differential", "rx": "received", "tx": "sent",
    "net": "network", "pue": "PUE", "gpu": "GPU", "gpus": "GPUs", "cpu": "CPU", "npu": "NPU", "sm": "SM", "dram": "DRAM",
    "xid": "XID", "ecc": "ECC", "ecn": "ECN", "it": "IT", "pcie": "PCIe", "nvlink": "NVLink", "sel": "event log",
    "rss": "resident memory", "load1": "load, one minute",
}  # fmt: skip


def metric_label(name: str) -> str:
    """A metric's name as an English reader says it, without its unit; the key of its translations."""
    return " ".join(_SPELT.get(word, word) for word in name.removesuffix(f"_{suffix(name)}").split("_"))


def _digits(value: float) -> int:
    """Decimals that give three significant digits, none from 100 on."""
    size = abs(value)
    return 2 if size < 9.995 else 1 if size < 99.95 else 0


def words(language: str) -> Words:
    """The words of ``language`` (``en``, ``zh``); English for one that no catalogue speaks."""
    return _words(language if language in LANGUAGES else "en")


@cache
def _words(language: str) -> Words:
    return Words(language)


@cache
def _catalogue(locale: str) -> gettext.NullTranslations:
    path = LOCALES / locale / "LC_MESSAGES" / "icctwin.po"
    if not path.exists():
        return gettext.NullTranslations()
    compiled = io.BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=locale))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
