"""Commands that look ahead: forecast any regular series."""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from twin.errors import ConfigError, Problem, SourceError
from ui.commands import add_command, between, json_option, say


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``forecast``."""
    parser = add_command(
        commands,
        "forecast",
        forecast,
        "forecast any regular series",
        "icctwin forecast --input f.csv --horizon 24 --out o.csv",
    )
    parser.add_argument("--input", type=Path, help="CSV with columns time,value at regular steps")
    parser.add_argument("--horizon", type=between(1, 2000), default=24, help="steps ahead (default: 24)")
    parser.add_argument("--out", type=Path, help="CSV with columns time,p10,p50,p90")
    parser.add_argument("--backtest", action="store_true", help="score the models on recorded series instead, or on --input")
    json_option(parser)


def forecast(options: argparse.Namespace) -> int:
    """A regular series in, quantiles out; or with ``--backtest`` the score of the models."""
    from analytics import table
    from twin.message import Message

    if options.backtest:
        from ui.commands.measure import bench

        return bench(argparse.Namespace(name="forecast", json=options.json, input=options.input, gpus=0, seconds=0))
    if not (options.input and options.out):
        raise ConfigError([Problem("forecast", "needs --input and --out (or --backtest)")])
    made = table.forecast_file(options.input, options.out, options.horizon)
    if isinstance(made, Message):
        raise SourceError(f"{options.input}: {made}")
    score = {name: _plain(getattr(made, name)) for name in made.__slots__}
    say(json.dumps(score) if options.json else "  ".join(f"{name} {value}" for name, value in score.items()))
    return 0


def _plain(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
