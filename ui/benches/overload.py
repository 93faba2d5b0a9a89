"""``icctwin bench overload``: what happens at 2, 5 and 10 times the load that a source was made for.

A centre takes what is pushed into one source with a stated rate. Senders offer once, twice, five and ten times that; counted is
what was taken, what was put off (429, 503) and what broke (anything else), how long the wall took to answer meanwhile, and at
the end whether each batch that was answered with 204 is in the store: shed, not fall.
"""

import argparse
import http.client
import signal
import subprocess
import sys
import tempfile
import threading  # noqa: TID251 - a bench drives from outside what tasks drive inside
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psutil

from twin.errors import SourceError
from ui.benches import Result
from ui.benches.chaos_world import TOKEN, eventually
from ui.benches.demo import free_port

NODES, GPUS, DESIGN_PER_S, FACTORS = 32, 8, 10_000, (1, 2, 5, 10)
SENDERS, ASK_S = 4, 0.25
_ALL = NODES * GPUS


@dataclass
class Offer:
    """What came of one factor. ``answers``: by status, 0 for none; ``taken_ms``: times of the batches answered with 204."""

    answers: Counter[int] = field(default_factory=Counter)
    taken_ms: list[int] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    took_s: float = 0.0


def bench_overload(options: argparse.Namespace) -> Result:
    """Each factor for a quarter of ``options.seconds``; ``SourceError`` where the centre does not come up."""
    with tempfile.TemporaryDirectory(prefix="icctwin-overload-") as name:
        folder, port = Path(name), free_port()
        path = _site(folder, port)
        words = [sys.executable, "-m", "ui", "--log-level", "error", "up", "--config", str(path)]
        child = subprocess.Popen(words)  # noqa: S603 - our own program
        try:
            if not eventually(lambda: _status(port, "/healthz") == 200, 180):
                raise SourceError("the centre does not come up; its own words are above")
            # samples carry the machine's time, told in steps that may begin before now
            began = datetime.now(UTC) - timedelta(seconds=1)  # noqa: TID251
            offers = {factor: _offered(port, factor, options.seconds / len(FACTORS)) for factor in FACTORS}
            rss = psutil.Process(child.pid).memory_info().rss
        finally:
            child.send_signal(signal.SIGTERM)
            code = child.wait(90)
        lost = _lost(path, began, [time_ms for offer in offers.values() for time_ms in offer.taken_ms])
    figures: Result = {"lost_batches_count": lost, "ended_badly_count": int(code != 0), "rss_bytes": rss}
    for factor, offer in offers.items():
        figures |= _figures(f"x{factor}", offer)
    conditions = {"gpus": _ALL, "design_samples_per_s": DESIGN_PER_S, "seconds": options.seconds}
    return {"bench": "overload", "figures": figures, "against": {}, "conditions": conditions}


def _figures(name: str, offer: Offer) -> Result:
    every = sum(offer.answers.values())
    put_off = offer.answers[429] + offer.answers[503]
    return {
        f"{name}_offered_samples_per_s": every * _ALL / offer.took_s,
        f"{name}_taken_samples_per_s": offer.answers[204] * _ALL / offer.took_s,
        f"{name}_put_off_frac": put_off / max(every, 1),
        f"{name}_broken_count": every - offer.answers[204] - put_off,
        f"{name}_wall_answer_p95_s": float(np.percentile(offer.waits_s, 95)) if offer.waits_s else float("nan"),
    }


def _site(folder: Path, port: int) -> Path:
    rows = ["id,kind,parent,hostname,index", "h,hall,,,", "r,rack,h,,"]
    for node in range(NODES):
        rows += [f"n{node},node,r,n{node},", *(f"n{node}g{g},gpu,n{node},,{g}" for g in range(GPUS))]
    (folder / "assets.csv").write_text("\n".join([*rows, ""]))
    (folder / "token").write_text(TOKEN)
    path = folder / "site.toml"
    path.write_text(
        f'[site]\nname = "overload"\nassets = "assets.csv"\n[wall]\nport = {port}\n[store]\npath = "kept"\n'
        '[[source]]\nname = "push"\ntype = "push"\nmapping = "dcgm"\ntoken_file = "token"\n'
        f"max_samples_per_s = {DESIGN_PER_S}\n"
    )
    return path


def _status(port: int, path: str) -> int:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        line.request("GET", path)
        return line.getresponse().status
    finally:
        line.close()


def _offered(port: int, factor: int, seconds: float) -> Offer:
    """Senders at ``factor`` times the design load, and somebody who looks at the wall meanwhile."""
    offer, begun_s = Offer(), time.monotonic()
    over_s, every_s = begun_s + seconds, SENDERS * _ALL / (factor * DESIGN_PER_S)
    senders = [threading.Thread(target=_send, args=(port, offer, i, every_s, over_s)) for i in range(SENDERS)]
    for sender in senders:
        sender.start()
    while time.monotonic() < over_s:
        asked_s = time.monotonic()
        with suppress(OSError):
            if _status(port, "/api/v1/state?kind=gpu&metric=temp_c") == 200:
                offer.waits_s.append(time.monotonic() - asked_s)
        time.sleep(ASK_S)
    for sender in senders:
        sender.join()
    offer.took_s = time.monotonic() - begun_s
    return offer


def _send(port: int, offer: Offer, number: int, every_s: float, over_s: float) -> None:
    """Batches at an even pace; one that comes late is sent at once."""
    lines = [f"DCGM_FI_DEV,gpu={i % GPUS},Hostname=n{i // GPUS} GPU_TEMP={40 + i % 30} TIME" for i in range(_ALL)]
    form = "\n".join(lines)
    line, due_s, headers = None, time.monotonic(), {"Authorization": f"Token {TOKEN}"}
    last_ms = 0
    while time.monotonic() < over_s:
        time.sleep(max(due_s - time.monotonic(), 0))
        due_s = max(due_s + every_s, time.monotonic() - 1.0)
        now_ms = int(time.time() * 1000) // SENDERS * SENDERS + number  # noqa: TID251 - a sender has a clock of its own
        time_ms = last_ms = max(now_ms, last_ms + SENDERS)  # each batch has a moment of its own
        line = line or http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            line.request("POST", "/api/v2/write?precision=ms", form.replace("TIME", str(time_ms)), headers)
            answer = line.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            offer.answers[0] += 1
            line.close()
            line = None
            continue
        offer.answers[answer.status] += 1
        if answer.status == 204:
            offer.taken_ms.append(time_ms)
        if answer.headers.get("connection") == "close":
            line.close()
            line = None
    if line is not None:
        line.close()


def _lost(path: Path, began: datetime, taken_ms: list[int]) -> int:
    """How many of the batches that were taken are not whole in the store that was left."""
    from ingest.stores import open_store
    from ui.app import TASK_NAMES
    from ui.config import load_config, site_of

    config = load_config(path)
    kept = open_store(config.store.path, site_of(config, TASK_NAMES), readonly=True)
    found = kept.series("gpu", ["temp_c"], began, datetime.now(UTC))  # noqa: TID251 - as above
    whole = {
        round(time_s * 1000)
        for time_s, row in zip(found.time_s, found.values["temp_c"], strict=True)
        if not np.isnan(row).any()
    }
    kept.close()
    return len(set(taken_ms) - whole)
