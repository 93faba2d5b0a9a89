"""Mapping many pages at once says exactly what mapping them one by one says."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from small import rows

from ingest.gather import Gatherer
from ingest.mappings import FOLDER, load_mapping
from ingest.mappings.assets import Assets
from ingest.mappings.bind import Binding
from ingest.mappings.pool import Reading, mapped
from ingest.sources.exposition import Reader
from twin.load import build_site
from ui.benches.exporters import page

NODES, ROUNDS = 5, 8
NOW = datetime(2026, 11, 25, tzinfo=UTC)
BLANK = 9223372036854775794.0


@pytest.fixture(scope="module")
def mapping(tmp_path_factory):
    file = tmp_path_factory.mktemp("pool") / "both.toml"
    more = (FOLDER / "node_exporter.toml").read_text().partition("[assets.port]")
    file.write_text((FOLDER / "dcgm.toml").read_text() + more[1] + more[2])
    return load_mapping(str(file))


@pytest.fixture(scope="module")
def site():
    lines = ["id=hall kind=hall", "id=rack kind=rack parent=hall"]
    for n in range(NODES):
        lines.append(f"id=node{n} kind=node parent=rack")
        lines += [f"id=node{n}g{g} kind=gpu parent=node{n} index={g}" for g in range(8)]
    return build_site("pool", "UTC", rows(*lines))


def pages(rng):
    """Of a node each; the last has lost three GPUs, so its form is another."""
    made = [page(n, rng).decode() for n in range(NODES)]
    made[-1] = "\n".join(line for line in made[-1].split("\n") if not any(f'gpu="{g}"' in line for g in (5, 6, 7)))
    return [Reader(openmetrics=False).learn(text).layout.series for text in made]


def said(frames):
    """{(kind, metric, row): value} of what is there; fails where two frames say something of one cell."""
    values = {}
    for frame in frames:
        for metric, column in frame.values.items():
            for row, value in zip(frame.rows.tolist(), column.tolist(), strict=True):
                if value == value:
                    assert values.setdefault((frame.kind, metric, row), value) is value
    return values


@pytest.mark.parametrize("seed", range(3))
def test_pages_mapped_together_say_what_they_say_alone(mapping, site, seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    series, assets = pages(rng), Assets(site)
    alone, pooled = ([Binding(mapping, site, assets, one, None, False) for one in series] for _ in range(2))
    assert len({one.form for one in [*alone, *pooled]}) == 2, "what is equal is one"
    counts = [rng.integers(0, 10**6, len(one)).astype(float) for one in series]
    rated = 0
    for k in range(ROUNDS):
        for values in counts:
            values += rng.integers(0, 1000, len(values))
            values[rng.random(len(values)) < 0.005] = [0.0, np.nan, BLANK][k % 3]
        now, order = NOW + timedelta(seconds=k), rng.permutation(NODES)[: rng.integers(1, NODES + 1)].tolist()
        read = [(n, Reading(pooled[n], counts[n].copy(), now, k + n / 10, 1.0, f"x{n}")) for n in order]
        one_by_one = {n: said(alone[n].frames(counts[n].copy(), None, now, k + n / 10, 1.0, f"x{n}")) for n in order}
        together = mapped(read)
        assert {key: value for one in one_by_one.values() for key, value in one.items()} == said(one.frame for one in together)
        for frame, by in together:
            assert [site.position[f"node{n}"] for n in by.tolist()] == [
                site.position[site.ids_of(frame.kind)[row].partition("g")[0]] for row in frame.rows.tolist()
            ], "each row by its own source"
        rated += sum(metric == "cpu_util_frac" for _, metric, _ in said(one.frame for one in together))
    assert rated > 0, "rates were among them"


def test_a_page_read_twice_before_it_is_mapped_and_two_of_one_asset_are_kept_apart(mapping, site):
    series = pages(np.random.Generator(np.random.PCG64(1)))[0]
    one, other = (Binding(mapping, site, Assets(site), series, None, False) for _ in range(2))
    first, later = np.full(len(series), 100.0), np.full(len(series), 150.0)
    gatherer = Gatherer(site)
    for by, binding, values, clock_s in ((0, one, first, 0.0), (0, one, later, 1.0), (1, other, first, 0.0)):
        gatherer.add_reading(by, Reading(binding, values, NOW + timedelta(seconds=clock_s), clock_s, 1.0, "x"))
    found = gatherer.take()
    assert gatherer.take() == []
    gpus = [gathered for gathered in found if gathered.frame.kind == "gpu"]
    assert sorted((g.frame.time, g.by.tolist()) for g in gpus) == [
        (NOW, [0] * 8),
        (NOW, [1] * 8),
        (NOW + timedelta(seconds=1), [0] * 8),
    ]
    rates = {g.frame.time: g.frame.values["cpu_util_frac"] for g in found if g.frame.kind == "node" and g.by[0] == 0}
    assert np.isnan(rates[NOW]).all()
    assert np.isfinite(rates[NOW + timedelta(seconds=1)]).all()
