"""The benches behind ``icctwin bench``: each gives figures that the README claims, with the conditions they were taken under.

A bench is one row in ``BENCHES`` (its module is imported only when it runs) and gives ``{"figures", "against",
"conditions"}``; names of figures carry their unit. ``against``, which may be missing, holds a peer's figures of the same run.
"""

import argparse
import importlib
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from twin.errors import ConfigError, Problem

Result = dict[str, Any]
# name -> module:function, which takes the command's options
BENCHES: Mapping[str, str] = MappingProxyType(
    {
        "demo": "ui.benches.demo:bench_demo",
        "store": "ui.benches.store:bench_store",
        "ingest": "ui.benches.ingest:bench_ingest",
        "memory": "ui.benches.memory:bench_memory",
        "forecast": "ui.benches.parts:bench_forecast",
        "calibrate": "ui.benches.calibrate:bench_calibrate",
        "cooling": "ui.benches.cooling:bench_cooling",
        "cooling_weeks": "ui.benches.cooling:bench_weeks",
        "detect": "ui.benches.detect:bench_detect",
        "findings": "ui.benches.findings:bench_findings",
        "plan": "ui.benches.parts:bench_plan",
        "dr": "ui.benches.dr:bench_dr",
        "account": "ui.benches.account:bench_account",
        "twin": "ui.benches.twin:bench_twin",
        "alerts": "ui.benches.alerts:bench_alerts",
        "slurm": "ui.benches.slurm:bench_slurm",
        "slurm_days": "ui.benches.slurm_days:bench_days",
        "wall": "ui.benches.wall:bench_wall",
        "report": "ui.benches.report:bench_report",
        "dig": "ui.benches.dig:bench_dig",
        "scene": "ui.benches.scene:bench_scene",
        "chaos": "ui.benches.chaos:bench_chaos",
        "week": "ui.benches.week:bench_week",
        "overload": "ui.benches.overload:bench_overload",
    }
)
_RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data"  # beside the checkout


def run_bench(options: argparse.Namespace) -> Result:
    """Run the bench called ``options.name``; what machine and which versions it ran on is added to its conditions."""
    module, function = BENCHES[options.name].split(":")
    result: Result = getattr(importlib.import_module(module), function)(options)
    return {"bench": options.name, "against": {}, **result, "conditions": _conditions() | result["conditions"]}


def recorded(folder: str) -> Path:
    """The folder of recorded data called ``folder``; ``ConfigError`` where it is not there."""
    found = _RECORDED / folder
    if not found.is_dir():
        raise ConfigError(
            [Problem(str(found), "no recorded data there; put the data of fixtures/SOURCES.md beside the checkout")]
        )
    return found


def _conditions() -> Result:
    import numpy as np

    return {
        "icctwin": version("icctwin"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "cores": os.cpu_count(),
        "load_1min": os.getloadavg()[0],
    }
