"""Turns the ``scrape_configs`` of a Prometheus configuration into ``[[source]]`` tables of ours.

What has no counterpart (relabelling beyond the pattern of multi-target exporters, discoveries other than file and HTTP, secrets
in the file itself) is left out with a sentence each: nothing is guessed silently.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ingest.sources.prometheus import Options
from twin.errors import ConfigError, Problem

MAX_BYTES = 16 * 2**20
_DURATION = re.compile(r"(\d+)(ms|[smhdwy])")
_SECONDS = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31_536_000}
_SIZE = re.compile(r"(\d+)\s*([KMGT]?)i?B?")
_QUIET = frozenset(
    ("honor_labels", "enable_compression", "follow_redirects", "scrape_classic_histograms", "track_timestamps_staleness")
)
_KNOWN = frozenset(
    (
        *(
            "job_name",
            "scrape_interval",
            "scrape_timeout",
            "metrics_path",
            "scheme",
            "params",
            "honor_timestamps",
            "body_size_limit",
        ),
        *("sample_limit", "static_configs", "file_sd_configs", "http_sd_configs", "tls_config", "basic_auth", "authorization"),
        *("bearer_token_file", "bearer_token", "relabel_configs", "metric_relabel_configs"),
    )
)
Table = dict[str, Any]


@dataclass(slots=True)
class Found:
    """``sources``: tables as a configuration has them under ``[[source]]``; ``left_out``: what could not be carried over."""

    sources: list[Table] = field(default_factory=list)
    left_out: list[Problem] = field(default_factory=list)


def read_scrape_configs(path: Path) -> Found:
    """The sources that the Prometheus configuration ``path`` scrapes. ``ConfigError`` where it is no such file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError([Problem(str(path), f"is over {MAX_BYTES} bytes")])
        raw = yaml.safe_load(data)
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read ({error.strerror})")]) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError([Problem(str(path), f"is not YAML ({' '.join(str(error).split())[:200]})")]) from None
    jobs = raw.get("scrape_configs") if isinstance(raw, dict) else None
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise ConfigError([Problem(str(path), "has no list scrape_configs; name the configuration of a Prometheus")])
    general = raw.get("global") if isinstance(raw.get("global"), dict) else {}
    found = Found()
    for job in jobs:
        _Job(path, {**general, **job}, job, found).read()
    return found


class _Job:
    """One entry of ``scrape_configs``: ``job`` with the defaults of ``global``, ``own`` without."""

    def __init__(self, path: Path, job: Table, own: Table, found: Found) -> None:
        self._folder, self._job, self._own, self._found = path.parent.resolve(), job, own, found
        self._name = str(job.get("job_name", ""))
        self._where = f"{path}: {self._name}"

    def read(self) -> None:
        """Add its sources, and what is left out of it."""
        table = {"name": self._name, "type": "prometheus"} | self._plain() | self._secrets() | self._relabelled()
        for key in self._own.keys() - _KNOWN - _QUIET:
            hint = (
                "list its targets in a file and give file_sd" if key.endswith("_sd_configs") else "it has no counterpart here"
            )
            self._leave(f"{key} is not read; {hint}")
        if self._own.get("metric_relabel_configs"):
            self._leave("metric_relabel_configs are not read; the mapping says which series count")
        made = [table | part for part in self._targets()]
        for number, one in enumerate(made, 1):
            self._add(one | {"name": self._name if len(made) == 1 else f"{self._name}-{number}"})
        if not made:
            self._leave("no target of it can be read")

    def _leave(self, what: str) -> None:
        self._found.left_out.append(Problem(self._where, what))

    def _add(self, table: Table) -> None:
        try:
            Options.model_validate({key: value for key, value in table.items() if key not in ("name", "type")})
        except ValidationError as error:
            for one in error.errors():
                key = ".".join(map(str, one["loc"])) or "it"
                self._leave(f"{key}: {one['msg'].removeprefix('Value error, ')}")
            return
        self._found.sources.append(table)

    def _plain(self) -> Table:
        job, table = self._job, Table()
        for theirs, ours in (("scrape_interval", "every_s"), ("scrape_timeout", "timeout_s")):
            if theirs in job:
                table[ours] = _seconds(str(job[theirs]))
        for theirs, ours in (("metrics_path", "metrics_path"), ("scheme", "scheme"), ("honor_timestamps", "honour_timestamps")):
            if theirs in job:
                table[ours] = job[theirs]
        if job.get("sample_limit"):
            table["max_samples"] = job["sample_limit"]
        size = _SIZE.fullmatch(str(job.get("body_size_limit", "")))
        if size and int(size[1]):
            table["max_body_bytes"] = int(size[1]) * 1024 ** " KMGT".index(size[2] or " ")
        params = {name: values[0] for name, values in (job.get("params") or {}).items() if len(values) == 1}
        if len(params) < len(job.get("params") or {}):
            self._leave("params with several values are not read")
        return table | ({"params": params} if params else {})

    def _secrets(self) -> Table:
        job, table = self._job, Table()
        tls, basic, bearer = (job.get(key) or {} for key in ("tls_config", "basic_auth", "authorization"))
        table |= {key: self._path(tls[key]) for key in ("ca_file", "cert_file", "key_file") if tls.get(key)}
        if tls.get("server_name"):
            table["server_name"] = tls["server_name"]
        if tls.get("insecure_skip_verify"):
            self._leave("insecure_skip_verify is not read; give the server's own certificate as ca_file")
        if basic.get("password_file"):
            table |= {"username": basic.get("username", ""), "password_file": self._path(basic["password_file"])}
        token = bearer.get("credentials_file") or job.get("bearer_token_file")
        if token and bearer.get("type", "Bearer") == "Bearer":
            table["bearer_token_file"] = self._path(token)
        if basic.get("password") or bearer.get("credentials") or job.get("bearer_token"):
            self._leave("a secret stands in the file itself and is not copied; put it into a file that only icctwin may read")
        return table

    def _relabelled(self) -> Table:
        """Of relabelling only what multi-target exporters ask for: the target becomes a parameter, an exporter is asked."""
        rules = [rule for rule in self._own.get("relabel_configs") or () if isinstance(rule, dict)]
        if not rules:
            return {}
        moved = any(r.get("target_label") == "__param_target" and r.get("source_labels") == ["__address__"] for r in rules)
        asked = [
            r for r in rules if r.get("target_label") == "__address__" and r.get("replacement") and not r.get("source_labels")
        ]
        plain = all(r.get("target_label") in ("__param_target", "__address__", "instance") and "regex" not in r for r in rules)
        if moved and len(asked) == 1 and plain:
            return {"through": str(asked[0]["replacement"])}
        self._leave("relabel_configs are not read but for those of multi-target exporters; look the targets over")
        return {}

    def _targets(self) -> list[Table]:
        made: list[Table] = []
        for one in self._own.get("static_configs") or ():
            labels = {str(name): str(value) for name, value in (one.get("labels") or {}).items()}
            targets = [str(target) for target in one.get("targets") or ()]
            if targets:
                made.append({"targets": targets} | ({"labels": labels} if labels else {}))
        for one in self._own.get("file_sd_configs") or ():
            files = [self._path(file) for file in one.get("files") or ()]
            made.append({"file_sd": files} | self._refresh(one))
        for one in self._own.get("http_sd_configs") or ():
            if one.keys() - {"url", "refresh_interval"}:
                self._leave("http_sd_configs: its own login is not read; the source's is shown")
            made.append({"http_sd": [str(one.get("url", ""))]} | self._refresh(one))
        return made

    def _refresh(self, one: Mapping[str, Any]) -> Table:
        return {"refresh_s": _seconds(str(one["refresh_interval"]))} if "refresh_interval" in one else {}

    def _path(self, text: object) -> str:
        return str(self._folder / str(text))


def _seconds(text: str) -> float:
    """A duration as Prometheus writes it (``1m30s``) in seconds; 0, which no option takes, where it is none."""
    parts: Sequence[tuple[str, str]] = _DURATION.findall(text)
    whole = "".join(number + unit for number, unit in parts) == text
    return float(sum(int(number) * _SECONDS[unit] for number, unit in parts)) if whole else 0.0
