"""Commands that look ahead: forecast any regular series."""

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin.errors import ConfigError, Problem, SourceError
from ui.commands import add_command, between, json_option, say, tell

if TYPE_CHECKING:
    from analytics.forecast import Forecast

PAST_HORIZONS = 4  # that a picture shows beside what is ahead


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``forecast``."""
    parser = add_command(
        commands,
        "forecast",
        forecast,
        "forecast any regular series",
        "icctwin forecast --input f.csv --horizon 24 --out o.csv",
    )
    parser.add_argument("--input", type=Path, help="CSV with columns time,value at regular steps, minutes to days")
    parser.add_argument("--horizon", type=between(1, 2016), default=24, help="steps ahead (default: 24)")
    parser.add_argument("--out", type=Path, help="CSV with columns time,p10,p50,p90")
    parser.add_argument("--zone", default="", help="time zone of the series' days, and of times without one: Asia/Shanghai")
    parser.add_argument("--country", default="", help="whose holidays it follows: CN, or AU-VIC; needs --zone")
    parser.add_argument("--limit", type=float, help="say how likely and when the series reaches this within the horizon")
    parser.add_argument("--card", type=Path, help="write the model card there: data, figures by lead, weak spots (JSON)")
    parser.add_argument("--picture", type=Path, metavar="F.svg", help="draw it with the days before it")
    parser.add_argument(
        "--backtest", action="store_true", help="score the procedure instead: on --input, or on the recorded series"
    )
    json_option(parser)


def forecast(options: argparse.Namespace) -> int:
    """A regular series in, quantiles out; or with ``--backtest`` how the procedure did."""
    from analytics import table
    from analytics.cards import plain_score
    from analytics.forecast import Aids
    from twin.message import Message

    if options.backtest and options.input is None:
        from ui.commands.measure import bench

        return bench(argparse.Namespace(name="forecast", json=options.json, gpus=0, seconds=0))
    _check(options)
    made = table.forecast_file(options.input, options.horizon, Aids(options.zone, options.country), tell)
    if isinstance(made, Message):
        raise SourceError(f"{options.input}: {made}")
    if options.out:
        table.write_forecast(options.out, made)
    if options.picture:
        _draw(options, made)
    for note in made.notes:
        tell(f"{options.input}: {note}")
    answer: dict[str, Any] = {
        **plain_score(made.score),
        "notes": [str(note) for note in made.notes],
        "days": _days(made),
        **_limit(made, options.limit),
    }
    if options.card or options.backtest:
        answer |= _card(made, options)
    say(json.dumps(answer) if options.json else _lines(answer))
    return 0


def _check(options: argparse.Namespace) -> None:
    problems = []
    if not (options.input and (options.out or options.picture or options.backtest)):
        problems.append(Problem("forecast", "needs --input and --out (or --picture, or --backtest)"))
    if options.country and not options.zone:
        problems.append(Problem("--country", "needs --zone: a holiday begins at its own midnight"))
    if options.limit is not None and not math.isfinite(options.limit):
        problems.append(Problem("--limit", f"{options.limit} is no limit; give a number"))
    if problems:
        raise ConfigError(problems)


def _draw(options: argparse.Namespace, made: "Forecast") -> None:
    """The picture, with as much of the past as ``PAST_HORIZONS`` horizons."""
    from zoneinfo import ZoneInfo

    from analytics import table
    from ui.forecast_picture import forecast_svg
    from ui.words import words

    time_s, values = table.read_series(options.input, options.zone)
    kept = slice(-PAST_HORIZONS * options.horizon, None)
    name = options.input.stem
    drawn = forecast_svg(words("en"), name, "", made, (time_s[kept], values[kept]), ZoneInfo(options.zone or "UTC"))
    try:
        options.picture.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(options.picture), f"cannot be written ({error.strerror})")]) from None


def _days(made: "Forecast") -> list[dict[str, Any]]:
    """The peak of each 24 hours ahead; none where there are no past forecasts to tell from."""
    from analytics.peaks import peaks_of
    from analytics.table import iso

    found = []
    for start, peak in peaks_of(made):
        likely = [round(float(p), 4) for p in peak.probability]
        at = iso(float(made.time_s[start + peak.step]))
        found.append({"from": iso(float(made.time_s[start])), "peak_at": at, "p10": peak.p10, "p50": peak.p50, "p90": peak.p90,
                      "probability": likely})  # fmt: skip
    return found


def _limit(made: "Forecast", limit: float | None) -> dict[str, Any]:
    from analytics.peaks import crossing, paths_of
    from analytics.table import iso

    if limit is None:
        return {}
    of = paths_of(made)
    if of is None:
        return {"limit": {"value": limit, "probability": None, "why": "too few past forecasts to tell from"}}
    found = crossing(of, limit, above=float(made.p50[0]) < limit)
    when = None if math.isnan(found.step_p50) else iso(float(made.time_s[int(found.step_p50) - 1]))
    return {"limit": {"value": limit, "probability": found.probability, "likely_at": when}}


def _card(made: "Forecast", options: argparse.Namespace) -> dict[str, Any]:
    from analytics.cards import card
    from twin.message import Message

    found = card(made)
    if isinstance(found, Message):
        if options.backtest:
            raise SourceError(f"{options.input}: {found}")
        tell(f"{options.input}: {found}")
        return {}
    plain = found.plain()
    if options.card:
        try:
            options.card.write_text(json.dumps(plain, indent=1), encoding="utf-8")
        except OSError as error:
            raise ConfigError([Problem(str(options.card), f"cannot be written ({error.strerror})")]) from None
    return {"card": plain} if options.backtest else {}


def _lines(answer: dict[str, Any]) -> str:
    score = ("model", "mase", "naive_mase", "pinball_vs_naive_frac", "coverage_80_frac", "origins")
    lines = ["  ".join(f"{name} {_short(answer[name])}" for name in score)]
    lines += [f"peak from {d['from']}: about {d['peak_at']}, {d['p10']:.5g} to {d['p90']:.5g}" for d in answer["days"]]
    if "limit" in answer:
        one = answer["limit"]
        lines.append(f"reaches {one['value']:g} with probability {_short(one['probability'])}, about {one.get('likely_at')}")
    if "card" in answer:
        card = answer["card"]
        lines += [
            f"to {one['to_s'] / 3600:g} h: mase {_short(one['mase'])} (daily naive {_short(one['naive_mase'])}), pinball "
            f"{_short(one['pinball_vs_naive_frac'])} x naive, 80 % band holds {_short(one['coverage_80_frac'])}"
            for one in card["leads"]
        ]
        lines += [f"weak: {one}" for one in card["weak"]]
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
