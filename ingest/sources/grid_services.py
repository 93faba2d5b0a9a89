"""The services that know a grid, each as its documentation describes it.

Electricity Maps: portal.electricitymaps.com/docs (``/v3/carbon-intensity/latest`` and ``/forecast``, gCO2eq/kWh). WattTime:
docs.watttime.org (``/v3/historical``, ``/v3/forecast``, lbs CO2/MWh). ENTSO-E: transparency.entsoe.eu web API, document A44
(IEC 62325-451-3 publication document). GB: carbon-intensity.github.io/api-definitions, gCO2/kWh.
"""

import asyncio
import csv
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from yarl import URL

from ingest.sources.outlook import Asking, Outlook, Values, at_hand, finite, moment, part
from ingest.wire import Login, read_secret, shown
from twin.errors import SourceError
from twin.metrics import METRICS

LB_KG = 0.45359237  # the international pound, exact since 1959
MAX_CSV_BYTES = 16 * 2**20
_CARBON, _MARGINAL, _PRICE = "carbon_gco2_per_kwh", "marginal_carbon_gco2_per_kwh", "price_per_mwh"
_HOUR = timedelta(hours=1)
_DAY_AHEAD = "A01"  # type of contract
_TOKEN_LIFE = timedelta(minutes=25)  # WattTime's last 30
_RESOLUTION = re.compile(r"PT(\d+)([MH])")

Steps = list[tuple[datetime, Values]]


class Service(Protocol):
    """One provider, ready to be asked."""

    async def ask(self, now: datetime) -> Outlook:
        """What it says now. ``SourceError`` where it does not answer as it should."""
        ...


class _Base:
    default_url = ""

    def __init__(
        self, asking: Asking, login: Login, zone: str, url: str, signal: str, path: Path | None, sequence: int | None = None
    ) -> None:
        self.asking, self.login, self.zone, self.signal, self.path = asking, login, zone, signal, path
        self.sequence = sequence
        self.url = URL(url or self.default_url)

    def rows(self, url: URL, data: Any, *names: str) -> list[Any]:
        """The list that lies under ``names`` in ``data``."""
        for name in names:
            data = data.get(name) if isinstance(data, dict) else None
        if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
            raise SourceError(f"{shown(url)}: the answer has no list of objects {'.'.join(names)}")
        return data

    def number(self, url: URL, value: object) -> float:
        """A finite number."""
        return finite(f"{shown(url)}: a value", value)


class ElectricityMaps(_Base):
    """Average carbon intensity of what is consumed in a zone."""

    default_url = "https://api.electricitymap.org"

    async def ask(self, now: datetime) -> Outlook:
        """See ``Service``."""
        token = read_secret(self.login.bearer_token_file) if self.login.bearer_token_file else ""
        head = {"auth-token": token}
        url = (self.url / "v3/carbon-intensity/latest").with_query(zone=self.zone)
        latest = await self.asking.json(url, head)
        if not isinstance(latest, dict) or "carbonIntensity" not in latest:
            raise SourceError(f"{shown(url)}: the answer has no carbonIntensity")
        here = [(moment(shown(url), latest.get("datetime")), {_CARBON: self.number(url, latest["carbonIntensity"])})]
        estimated = bool(latest.get("isEstimated"))
        try:
            steps, issued = await self._ahead(head)
        except SourceError as error:  # what is now is known all the same
            contract = "status 401" in str(error) or "status 403" in str(error)  # not every contract has forecasts
            return Outlook(here, estimated=estimated, trouble="" if contract else str(error))
        return Outlook(here, steps, issued, estimated)

    async def _ahead(self, head: Mapping[str, str]) -> tuple[Steps, datetime]:
        """What is foreseen, and when that was said."""
        url = (self.url / "v3/carbon-intensity/forecast").with_query(zone=self.zone)
        told = await self.asking.json(url, head)
        steps: Steps = [
            (moment(shown(url), row.get("datetime")), {_CARBON: self.number(url, row.get("carbonIntensity"))})
            for row in self.rows(url, told, "forecast")
        ]
        return steps, moment(shown(url), told.get("updatedAt"))


class WattTime(_Base):
    """Marginal (co2_moer) or average (co2_aoer) emission rate of a region."""

    default_url = "https://api.watttime.org"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._token, self._until = "", datetime.min.replace(tzinfo=UTC)

    async def ask(self, now: datetime) -> Outlook:
        """See ``Service``."""
        if now >= self._until:
            url = self.url / "login"
            said = await self.asking.json(url, self.login.headers())
            if not isinstance(said, dict) or not isinstance(said.get("token"), str):
                raise SourceError(f"{shown(url)}: the answer has no token")
            self._token, self._until = said["token"], now + _TOKEN_LIFE
        asked = {"region": self.zone, "signal_type": self.signal}
        start, end = (time.strftime("%Y-%m-%dT%H:%M+00:00") for time in (now - 2 * _HOUR, now))
        past, _ = await self._steps((self.url / "v3/historical").with_query({**asked, "start": start, "end": end}))
        url = (self.url / "v3/forecast").with_query({**asked, "horizon_hours": "48"})
        future, meta = await self._steps(url)
        return Outlook(at_hand(past, now, 2 * _HOUR), future, moment(shown(url), meta.get("generated_at")))

    async def _steps(self, url: URL) -> tuple[Steps, Mapping[str, Any]]:
        try:
            data = await self.asking.json(url, {"Authorization": f"Bearer {self._token}"})
        except SourceError as error:
            if "status 401" in str(error):
                self._until = datetime.min.replace(tzinfo=UTC)  # the next poll logs in anew
            raise
        rows, meta = self.rows(url, data, "data"), part(shown(url), data, "meta")
        if meta.get("units") != "lbs_co2_per_mwh":
            raise SourceError(f"{shown(url)}: units are {meta.get('units')!r}, not lbs_co2_per_mwh")
        metric = _MARGINAL if self.signal == "co2_moer" else _CARBON
        # lb/MWh -> g/kWh
        return [
            (moment(shown(url), r.get("point_time")), {metric: self.number(url, r.get("value")) * LB_KG}) for r in rows
        ], meta


class GreatBritain(_Base):
    """The national grid operator's figure and its forecast of two days."""

    default_url = "https://api.carbonintensity.org.uk"

    async def ask(self, now: datetime) -> Outlook:
        """See ``Service``."""
        here = self.url / "intensity"
        ahead = self.url / "intensity" / now.strftime("%Y-%m-%dT%H:%MZ") / "fw48h"
        half = timedelta(minutes=30)
        current = at_hand(self._steps(here, await self.asking.json(here), "actual"), now, 2 * half)
        future = self._steps(ahead, await self.asking.json(ahead), "forecast")
        return Outlook(
            current or at_hand(future, now, half),
            future,
            now.replace(minute=now.minute // 30 * 30, second=0, microsecond=0),
            not current,
        )

    def _steps(self, url: URL, data: Any, name: str) -> Steps:
        found: Steps = []
        for row in self.rows(url, data, "data"):
            value = part(shown(url), row, "intensity").get(name)
            if value is not None:
                found.append((moment(shown(url), row.get("from")), {_CARBON: self.number(url, value)}))
        return found


class Entsoe(_Base):
    """Day-ahead prices of a bidding zone. Prices are facts once they are published: the current step is measured.

    A zone may have several auctions of a day (DE-LU and AT: 1 is the coupled one, 2 that of EXAA at 10:15), told apart by
    ``classificationSequence``: read is ``sequence``, else the lowest of the document. Of Spain intraday prices (contract
    A07) stand beside the day-ahead ones (A01), and are left.
    """

    default_url = "https://web-api.tp.entsoe.eu/api"

    async def ask(self, now: datetime) -> Outlook:
        """See ``Service``."""
        start = (now - timedelta(hours=24)).strftime("%Y%m%d0000")
        end = (now + timedelta(hours=48)).strftime("%Y%m%d0000")
        token = read_secret(self.login.bearer_token_file) if self.login.bearer_token_file else ""
        asked = {"documentType": "A44", "in_Domain": self.zone, "out_Domain": self.zone, "periodStart": start, "periodEnd": end}
        url = self.url.with_query({**asked, "securityToken": token})
        return self.read(shown(url), (await self.asking.text(url)).text, now)

    def read(self, where: str, text: str, now: datetime) -> Outlook:
        """What the document ``text`` says."""
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise SourceError(f"{where}: the document defines entities, which none of this kind does")
        try:
            root = ET.fromstring(text)  # noqa: S314 - see above
        except ET.ParseError as error:
            raise SourceError(f"{where}: the answer is not XML ({error})") from None
        if not root.tag.endswith("Publication_MarketDocument"):
            reason = root.findtext(".//{*}Reason/{*}text") or root.tag
            raise SourceError(f"{where}: no prices ({' '.join(reason.split())[:200]})")
        prices: dict[datetime, Values] = {}
        here: Steps = []
        for series in self._auction(where, root):
            unit = series.findtext("{*}price_Measure_Unit.name", "")
            if unit != "MWH":
                raise SourceError(f"{where}: prices are per {unit!r}, not per MWH")
            for period in series.iterfind("{*}Period"):
                found, step = _period(where, period)
                here += at_hand(found, now, step)
                for time, price in found:
                    if prices.setdefault(time, price) != price:
                        raise SourceError(f"{where}: gives two prices for {time:%Y-%m-%d %H:%M}; none is believed")
        return Outlook(here[:1], sorted(prices.items()), moment(where, root.findtext("{*}createdDateTime")))

    def _auction(self, where: str, root: ET.Element) -> list[ET.Element]:
        """The time series of the one auction that is read."""
        found: dict[int, list[ET.Element]] = {}
        for series in root.iterfind("{*}TimeSeries"):
            if series.findtext("{*}contract_MarketAgreement.type", _DAY_AHEAD) != _DAY_AHEAD:
                continue
            said = series.findtext("{*}classificationSequence_AttributeInstanceComponent.position", "1")
            if not said.isdecimal():
                raise SourceError(f"{where}: {said[:40]!r} is no sequence of an auction")
            found.setdefault(int(said), []).append(series)
        if self.sequence is not None and found and self.sequence not in found:
            raise SourceError(f"{where}: has no sequence {self.sequence}; it has {', '.join(map(str, sorted(found)))}")
        return found[self.sequence if self.sequence is not None else min(found)] if found else []


def _period(where: str, period: ET.Element) -> tuple[Steps, timedelta]:
    """Steps of one period. A position that is left out has the price of the one before (curve type A03)."""
    start = moment(where, period.findtext("{*}timeInterval/{*}start"))
    end = moment(where, period.findtext("{*}timeInterval/{*}end"))
    said = _RESOLUTION.fullmatch(period.findtext("{*}resolution", ""))
    if not said or int(said[1]) == 0:
        raise SourceError(f"{where}: a resolution that is none")
    step = timedelta(minutes=int(said[1])) * (60 if said[2] == "H" else 1)
    n = (end - start) // step
    if not 0 < n <= 10_000:
        raise SourceError(f"{where}: a period of {n} steps")
    prices = [math.nan] * n
    for point in period.iterfind("{*}Point"):
        try:
            position, price = int(point.findtext("{*}position", "")), float(point.findtext("{*}price.amount", ""))
        except ValueError:
            raise SourceError(f"{where}: a point that is none") from None
        if not 1 <= position <= n or not math.isfinite(price):
            raise SourceError(f"{where}: position {position} of {n}")
        prices[position - 1] = price
    found: Steps = []
    for i, price in enumerate(prices):
        known = price if price == price else (found[-1][1][_PRICE] if found else math.nan)
        if known == known:
            found.append((start + i * step, {_PRICE: known}))
    return found, step


class Table(_Base):
    """A CSV file that somebody keeps: ``time`` and any metrics of the grid. Rows up to now are what is, later ones what will
    be; it is read anew at each poll."""

    async def ask(self, now: datetime) -> Outlook:
        """See ``Service``."""
        path = self.path or Path()
        rows, changed = await asyncio.to_thread(_read_csv, path)
        steps = sorted(rows, key=lambda one: one[0])
        begun = [one for one in steps if one[0] <= now]
        return Outlook(begun[-1:], [one for one in steps if one[0] > now], min(changed, now))


def _read_csv(path: Path) -> tuple[Steps, datetime]:
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise SourceError(f"{path}: is over {MAX_CSV_BYTES} bytes")
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            return [_row(f"{path}:{reader.line_num}", row) for row in reader], changed
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read ({error})") from None


def _row(where: str, row: Mapping[str, str | None]) -> tuple[datetime, Values]:
    if "time" not in row or not row.keys() <= {"time", *METRICS["grid"]}:
        strange = sorted(str(name) for name in row.keys() - {"time", *METRICS["grid"]})
        what = f"no column {strange[0]!r} is known" if strange else "there is no column time"
        raise SourceError(f"{where}: {what}; columns are time and {', '.join(METRICS['grid'])}")
    values = {}
    for name, text in row.items():
        if name == "time" or not text:
            continue
        try:
            values[name] = float(text)
        except ValueError:
            raise SourceError(f"{where}: {name} is {text[:40]!r}, no number") from None
    return moment(where, row["time"]), values


SERVICES: Mapping[str, Callable[..., Service]] = {
    "electricitymaps": ElectricityMaps,
    "watttime": WattTime,
    "entsoe": Entsoe,
    "gb": GreatBritain,
    "csv": Table,
}
