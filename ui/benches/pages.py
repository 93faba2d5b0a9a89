"""Pages under load: a storm, the time from a reading to a webhook, and a receiver that is away while we are killed.

All against a real receiver on loopback, by the courier, the book and the desk as a running centre has them.
"""

import asyncio
import json
import os
import signal as signals
import socket
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from analytics.alerts import begin, step
from analytics.oncall.labels import Signal
from analytics.oncall.policy import Policy, Route
from analytics.rule import Domain, Rule, Rules, Severity
from ingest.stores.records import open_records
from twin.frame import Frame
from twin.load import Row, build_site
from twin.message import Message
from twin.site import Site
from twin.state import State
from ui.benches.fresh import fresh
from ui.faces.notify import channel_module
from ui.faces.notify.post import Post
from ui.oncall.book import Book
from ui.oncall.courier import Courier, Line
from ui.oncall.file import OnCallFile
from ui.oncall.service import OnCall
from ui.tasks import RealClock

STORM_WATCHED_S = 20.0
TICK_S = 0.5  # between two looks at the alerts, as a running centre has it
SPEED = 600.0  # an hour in six seconds
SEEN = "seen"  # file of the assets whose incidents some life has looked at and kept
AWAY_S, SLOW_S, REFUSES_S = 6.0, 3.0, 5.0  # of real time: an hour away, then slow, then 500 and 429
RETRY_AFTER_S = 30


class _Receiver:
    """Takes webhooks in a process of its own and writes each to a file as it comes."""

    def __init__(self, folder: Path, away_s: float = 0.0, slow_s: float = 0.0, refuses_s: float = 0.0) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.file = folder / "received.jsonl"
        self.file.touch()
        times = (away_s, away_s + slow_s, away_s + slow_s + refuses_s)
        self._process = fresh([__name__]).Process(target=_receive, args=(self.port, self.file, times), daemon=True)
        self._process.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def taken(self) -> list[dict[str, Any]]:
        """What was taken so far: at_s, id, body."""
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def close(self) -> None:
        self._process.terminate()
        self._process.join()


def _receive(port: int, file: Path, times: tuple[float, float, float]) -> None:
    """Away until the first time, slow until the second, refusing two of three until the third."""
    start_s = time.monotonic()
    time.sleep(times[0])
    count = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal count
            count += 1
            raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            since_s = time.monotonic() - start_s
            if times[0] < since_s < times[1]:
                time.sleep(0.1)
            refuses = times[1] <= since_s < times[2] and count % 3 != 0
            if not refuses:
                at_s = time.clock_gettime(time.CLOCK_REALTIME)
                line = json.dumps({"at_s": at_s, "id": self.headers.get("Idempotency-Key"), "body": json.loads(raw)})
                with file.open("a") as out:
                    out.write(line + "\n")
            self.send_response((429 if count % 2 else 500) if refuses else 200)
            self.send_header("Retry-After", str(RETRY_AFTER_S))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def _file(url: str, **route: Any) -> OnCallFile:
    """Everything goes to one webhook."""
    module = channel_module("webhook")
    options = module.Options.model_validate({"url": url})
    line = Line(module.build("hook", options, {}), options, module.PACE)
    return OnCallFile(Policy((Route("all", (), ("hook",), **route),)), lines={"hook": line})


def _courier(book: Book, file: OnCallFile, clock: RealClock) -> Courier:
    return Courier(book, file.lines, Post(("127.0.0.1",)), clock, np.random.Generator(np.random.PCG64(1)))


# --- a storm
# -------------------------------------------------------------------------------------------------------------------


def _row_site() -> Site:
    """A row of 20 racks behind one feed: 160 nodes, 1,280 GPUs; and a second row that stands."""
    rows = [{"id": "h1", "kind": "hall"}]
    links = []
    for row in ("A1", "A2"):
        rows += [{"id": row, "kind": "row", "parent": "h1"}, {"id": f"{row}-feed", "kind": "pdu", "parent": row}]
        for r in range(20):
            rack = f"{row}-{r:02d}"
            rows.append({"id": rack, "kind": "rack", "parent": row})
            links.append({"from": f"{row}-feed", "to": rack, "relation": "feeds"})
            for n in range(8):
                rows.append({"id": f"{rack}-n{n}", "kind": "node", "parent": rack})
                rows += [{"id": f"{rack}-n{n}-g{g}", "kind": "gpu", "parent": f"{rack}-n{n}"} for g in range(8)]
    return build_site("storm", "UTC", [Row("b", one) for one in rows], [Row("b", one) for one in links])


def _storm_rules() -> Rules:
    def below(name: str, kind: str, metric: str, limit: float, **more: Any) -> Rule:
        text = f"{{asset}}: {metric} is {{value:.0f}}"
        return Rule(name, kind, metric, Severity.CRITICAL, text, "look", 0.0, limit, limit + 1, rising=False, **more)

    power = (Domain.POWER,)
    feed = "the feed {asset} has tripped"
    tripped = Rule("feed_tripped", "pdu", "breaker_open_flag", Severity.CRITICAL, feed, "look", 0.0, 1.0, 0.0)
    names = (("power", "power_w", 5.0), ("clock", "sm_clock_hz", 1e6), ("memory", "mem_clock_hz", 1e6), ("cold", "temp_c", 5.0))
    gpus = [below(f"gpu_{name}", "gpu", metric, limit, suffers=power) for name, metric, limit in names]
    nodes = [
        below("node_power", "node", "power_w", 5.0, suffers=power),
        below("node_up", "node", "up_flag", 0.0, suffers=power),
    ]
    racks = [below("rack_power", "rack", "power_w", 5.0, suffers=power)]
    return Rules((replace(tripped, breaks=Domain.POWER, suffers=power), *gpus, *nodes, *racks))


def storm() -> dict[str, float]:
    """A row's feed trips: 5,460 conditions are true within a second, and the feed's own reading comes 0.4 s after the first of
    them. How many pages arrive in the 20 s after, how soon, and whether the first names the feed."""
    site, rules = _row_site(), _storm_rules()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        receiver, clock = _Receiver(folder), RealClock()
        time.sleep(0.3)
        file = _file(receiver.url)
        records, book = open_records(folder / "records.db"), Book(folder / "oncall.db")
        oncall = OnCall(site, book, records, file, clock.now())
        rss = psutil.Process().memory_info().rss
        try:
            tripped_s, conditions, step_s = asyncio.run(_storm(site, rules, oncall, _courier(book, file, clock), clock))
            taken = receiver.taken()
        finally:
            receiver.close()
            book.close()
            records.close()
    first = taken[0]["body"]["alerts"][0]["annotations"]["summary"] if taken else ""
    return {
        "storm_pages": float(len(taken)),
        "storm_page_s": taken[0]["at_s"] - tripped_s if taken else float("inf"),
        "storm_names_feed_frac": float("A1-feed" in first),
        "storm_conditions_count": float(conditions),
        "storm_step_s": step_s,
        "storm_rss_growth_bytes": float(max(0, psutil.Process().memory_info().rss - rss)),
    }


async def _storm(site: Site, rules: Rules, oncall: OnCall, courier: Courier, clock: RealClock) -> tuple[float, int, float]:
    state, table = State(site), begin(rules, site, clock.now())
    tripped_s, slowest_s, conditions = float("inf"), 0.0, 0
    in_row = {kind: np.char.startswith(np.array(site.ids_of(kind)), "A1") for kind in ("gpu", "node", "rack", "pdu")}
    start_s = time.monotonic()
    while (since_s := time.monotonic() - start_s) < 2.0 + STORM_WATCHED_S:
        now = clock.now()
        dark = since_s >= 2.0
        if dark and tripped_s == float("inf"):
            tripped_s = now.timestamp()
        columns = {
            "gpu": {"power_w": 600.0, "sm_clock_hz": 1.9e9, "mem_clock_hz": 2.6e9, "temp_c": 60.0},
            "node": {"power_w": 7000.0, "up_flag": 1.0},
            "rack": {"power_w": 60_000.0},
        }
        for kind, levels in columns.items():
            values = {name: np.where(in_row[kind] & dark, 0.0, level) for name, level in levels.items()}
            state.absorb(Frame(kind, now, site.all_rows(kind), values), now)
        told = now.timestamp() >= tripped_s + 0.4
        feed = np.where(in_row["pdu"] & told, 1.0, 0.0)
        state.absorb(Frame("pdu", now, site.all_rows("pdu"), {"breaker_open_flag": feed}), now)
        began_s = time.perf_counter()
        table = oncall.step(step(rules, site, state, table, now), now)
        slowest_s = max(slowest_s, time.perf_counter() - began_s)
        conditions = max(conditions, sum(table.firing.values()))
        await courier.tick()
        await asyncio.sleep(max(0.0, TICK_S - (time.perf_counter() - began_s)))
    await courier.close()
    return tripped_s, conditions, slowest_s


# --- from reading to webhook --------------------------------------------------------------------------------------------------

_SITE_TOML = """
[site]
name = "latency"
assets = "assets.csv"
[store]
path = "store"
[alerts]
rules = "rules.toml"
oncall = "oncall.toml"
"""
_RULE = """
[[rule]]
name = "hot"
kind = "gpu"
metric = "temp_c"
above = 85
clear = 80
hold_s = 0
severity = "critical"
summary = "{asset} is hot"
runbook = "look at it"
"""
_ONCALL = """
[delivery]
allow = ["127.0.0.1"]
[[channel]]
name = "hook"
type = "webhook"
url = "%s"
[[route]]
name = "all"
channels = ["hook"]
group_by = ["asset"]
"""


def latency(seconds: float) -> dict[str, float]:
    """A whole running centre is given a reading a second, each at another moment between two looks, and each makes another GPU
    hot: from the reading's time to the webhook in the receiver's hands."""
    from ui.app import Centre
    from ui.config import load_config

    count = max(4, int(seconds))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        receiver = _Receiver(folder)
        lines = ["id,kind,parent", "h,hall,", "r,rack,h", "n,node,r", *(f"g{i},gpu,n" for i in range(count))]
        for path, text in (("assets.csv", "\n".join(lines)), ("rules.toml", _RULE), ("site.toml", _SITE_TOML)):
            (folder / path).write_text(text)
        (folder / "oncall.toml").write_text(_ONCALL % receiver.url)
        centre = Centre(load_config(folder / "site.toml"), RealClock())
        try:
            read_s = asyncio.run(_latency(centre, count))
            taken = receiver.taken()
        finally:
            receiver.close()
    waited = [one["at_s"] - read_s[one["body"]["groupLabels"]["asset"]] for one in taken if one["body"]["status"] == "firing"]
    return {
        "reading_to_webhook_p99_s": float(np.quantile(waited, 0.99)) if waited else float("inf"),
        "reading_to_webhook_p50_s": float(np.median(waited)) if waited else float("inf"),
        "readings_without_page_count": float(count - len(waited)),
    }


async def _latency(centre: Any, count: int) -> dict[str, float]:
    loop, rng = asyncio.get_running_loop(), np.random.Generator(np.random.PCG64(1))
    centre.start(loop, 1.0)
    await asyncio.sleep(2.0)
    read_s: dict[str, float] = {}
    for i in range(count):
        await asyncio.sleep(float(rng.uniform(0.0, 1.0)))
        now = centre.clock.now()
        read_s[f"g{i}"] = now.timestamp()
        value = {"temp_c": np.array([90.0])}
        centre.publish([Frame("gpu", now, np.array([i], dtype=np.int32), value)])
        await asyncio.sleep(max(0.0, 1.0 - (centre.clock.now() - now).total_seconds()))
    await asyncio.sleep(4.0)
    await asyncio.to_thread(centre.stop, loop)
    return read_s


# --- a receiver that is away, and kills ---------------------------------------------------------------------------------------


def killed(kills: int) -> dict[str, float]:
    """Incidents come and go once a minute while the receiver is away for an hour, then slow, then answers 500 and 429;
    meanwhile the process that thinks and sends is killed (SIGKILL) so many times. The clock runs 600 times faster."""
    rng = np.random.Generator(np.random.PCG64(3))
    apart = fresh([__name__])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        receiver = _Receiver(folder, AWAY_S, SLOW_S, REFUSES_S)
        start_s, real_s = RealClock().now().timestamp(), time.monotonic()
        end_s, done = float("inf"), 0
        try:
            while True:
                child = apart.Process(target=_live, args=(folder, receiver.url, start_s, real_s, end_s))
                child.start()
                child.join(float(rng.uniform(0.1, 0.4)) if done < kills else 120.0)
                if child.exitcode is not None:
                    break
                os.kill(child.pid or 0, signals.SIGKILL)
                child.join()
                done += 1
                if done == kills:  # what began before may end; nothing new begins
                    end_s = start_s + (time.monotonic() - real_s) * SPEED
            taken = receiver.taken()
        finally:
            receiver.close()
        book = Book(folder / "oncall.db")
        waiting, dead, _ = book.counts()
        kept = book.pages(None, 100_000)
        book.close()
        seen = set((folder / SEEN).read_text().split())
    return _judged(taken, kept, seen) | {"kills_count": float(done), "pages_left_count": float(waiting + dead)}


def _firing(time_s: float, start_s: float, end_s: float) -> list[Signal]:
    """Incident k begins in minute k and lasts for twenty; none after ``end_s``."""
    found = []
    minute = int((time_s - start_s) // 60)
    for k in range(max(0, minute - 20), minute + 1):
        since_s = start_s + 60.0 * k
        if since_s <= min(time_s, end_s) and time_s < since_s + 1200.0:
            labels, said = {"alertname": "drill", "asset": f"a{k}", "severity": "critical"}, f"drill {k}"
            found.append(Signal(f"drill:a{k}", labels, Severity.CRITICAL, Message(said), since_s))
    return found


def _live(folder: Path, url: str, start_s: float, real_s: float, end_s: float) -> None:
    """One life of the process: the desk and the courier over the book, until all is told or it is killed."""
    from analytics.oncall.desk import Desk
    from analytics.oncall.desk import step as desk_step
    from analytics.oncall.keep import desk_of, desk_text, page_text

    class Fast:
        def now(self) -> datetime:
            return datetime.fromtimestamp(start_s, UTC) + timedelta(seconds=(time.monotonic() - real_s) * SPEED)

    async def live() -> None:
        clock, book = Fast(), Book(folder / "oncall.db")
        file = _file(url, group_by=("asset",))
        courier = _courier(book, file, clock)  # type: ignore[arg-type]
        kept = book.read("desk")
        desk = desk_of(kept) if kept else Desk()
        while True:
            now_s = clock.now().timestamp()
            firing = _firing(now_s, start_s, end_s)
            told = desk_step(file.policy, desk, firing, now_s)
            if told.pages or told.desk.groups.keys() != desk.groups.keys():
                pages = [(p.channel, p.group, p.severity.value, p.made_s, page_text(p)) for p in told.pages]
                book.keep({"desk": desk_text(told.desk)}, pages)
                with (folder / SEEN).open("a") as seen:  # must be told; one that nobody looked at in its two real seconds not
                    seen.write("".join(f"{one.labels['asset']}\n" for one in firing))
            desk = told.desk
            await courier.tick()
            if now_s > end_s and not desk.groups and not book.counts()[0]:
                break
            await asyncio.sleep(0.01)
        await courier.close()
        book.close()

    asyncio.run(live())


def _judged(taken: list[dict[str, Any]], kept: list[Any], due: set[str]) -> dict[str, float]:
    """Each page that was made, and each asset that is ``due`` one, against what was taken: lost, doubled, out of order."""
    received: dict[str, list[str]] = defaultdict(list)
    seen: dict[str, int] = defaultdict(int)
    for one in taken:
        seen[one["id"]] += 1
        if seen[one["id"]] == 1:
            received[one["body"]["groupLabels"]["asset"]].append(one["body"]["status"])
    lost = {page.number for page in kept} - {int(str(one["id"]).rpartition("-")[2]) for one in taken}
    return {
        "pages_made_count": float(len(kept)),
        "pages_lost_count": float(len(lost) + len(due - received.keys())),
        "pages_doubled_count": float(sum(count - 1 for count in seen.values())),
        "groups_out_of_order_count": float(sum(said != ["firing", "resolved"] for said in received.values())),
    }
