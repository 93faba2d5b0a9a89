"""The codec gives back what it was given; records keep what they were told."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ingest.stores import open_records
from ingest.stores.embedded.codec import Codec, places_of
from ingest.stores.embedded.narrow import narrowed
from twin.errors import ConfigError

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
decimals = st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 6)).map(lambda pair: pair[0] / 10 ** pair[1])
special = st.sampled_from(
    [math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, -2.2e-308, 1.7976931348623157e308, 2.0**53, -(2.0**53) - 2]
)
floats = st.one_of(st.floats(width=64), special, decimals)
matrices = st.one_of(
    *(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=some) for some in (floats, decimals))
)


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    """Bit for bit, but that every NaN is a NaN."""
    gone = np.isnan(left)
    return bool(
        np.array_equal(gone, np.isnan(right)) and np.array_equal(left[~gone].view(np.int64), right[~gone].view(np.int64))
    )


@settings(max_examples=300, deadline=None)
@given(matrices, st.integers(0, 9), st.data())
def test_every_float_comes_back(values: np.ndarray, guess: int, data: st.DataObject) -> None:
    codec = Codec()
    grades = data.draw(st.one_of(st.none(), arrays(np.uint8, values.shape, elements=st.integers(0, 2))))
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, len(values) - 1), min_size=1))), dtype=np.int32)
    blob = codec.encode(values, grades, guess)
    found, quality = codec.decode(blob)
    assert same_bits(values, found)
    some, some_quality = codec.decode(blob, rows)
    assert same_bits(values[rows], some)
    if grades is None:
        assert quality is None
    else:
        np.testing.assert_array_equal(quality, grades)
        np.testing.assert_array_equal(some_quality, grades[rows])


@settings(max_examples=200, deadline=None)
@given(st.one_of(*(arrays(np.float64, st.integers(0, 12), elements=some) for some in (floats, decimals))), st.data())
def test_a_narrow_column_gives_every_float_back(column: np.ndarray, data: st.DataObject) -> None:
    narrow = narrowed(column)
    assert same_bits(column, narrow.floats())
    take = np.array(data.draw(st.lists(st.integers(0, max(0, len(column) - 1)), max_size=len(column))), dtype=np.intp)
    assert same_bits(column[take], narrow.floats(take))


def test_narrow_columns_take_what_their_decimals_need() -> None:
    for values, size in (([0.25, 1.0], 1), ([512.125, -7.5], 4), ([2.619e9], 4), ([1e-12], 8), ([math.nan, 1.0], 8)):
        assert narrowed(np.array(values)).whole.itemsize == size, values


def test_a_column_that_waits_does_not_keep_the_table_that_it_was_cut_from() -> None:
    """A thousand nodes' frame of 25 metrics stayed whole for the sake of one metric with gaps: 1.4 GB in ten minutes."""
    table = np.full((25, 1000), math.nan)
    assert narrowed(table[3]).whole.base is None


def test_readings_become_small_and_noise_stays_exact() -> None:
    """Decimals of a slow sensor take well under a byte; a value that only looks like a decimal is not rounded."""
    codec, rng = Codec(), np.random.default_rng(3)
    slow = np.round(60 + 0.05 * np.cumsum(rng.standard_normal((64, 600)), axis=1), 1)
    blob = codec.encode(slow)
    assert places_of(blob) == 1
    assert len(blob) < 0.3 * slow.size
    almost = slow.copy()
    almost[17, 300] = np.nextafter(almost[17, 300], 99.0)
    blob = codec.encode(almost, None, 1)
    assert places_of(blob) is None
    assert same_bits(almost, codec.decode(blob)[0])


def test_records_come_back_by_topic_and_time(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no records here"):
        open_records(tmp_path / "records.db", readonly=True)
    records = open_records(tmp_path / "records.db")
    reader = open_records(tmp_path / "records.db", readonly=True)
    numbers = [records.append("alert", NOW + timedelta(seconds=k), {"k": k, "名": "泵"}) for k in range(10)]
    records.append("audit", NOW, {"who": "me"})
    assert numbers == sorted(set(numbers))
    found = reader.read("alert", NOW + timedelta(seconds=2), NOW + timedelta(seconds=5))
    assert [(number, time, record["k"]) for number, time, record in found] == [
        (numbers[k], NOW + timedelta(seconds=k), k) for k in (2, 3, 4)
    ]
    assert [record["k"] for _, _, record in reader.read("alert", limit=3)] == [0, 1, 2]
    assert [record["k"] for _, _, record in reader.read("alert", limit=3, newest=True)] == [7, 8, 9]
    assert reader.read("audit")[0][2] == {"who": "me"}
    assert reader.read("nothing") == []
    reader.close()
    records.close()
    records = open_records(tmp_path / "records.db")
    assert records.append("alert", NOW, {}) > numbers[-1]
    with pytest.raises(ValueError, match="use 1 to"):
        records.read("alert", limit=0)
    with pytest.raises(ValueError, match="the limit is"):
        records.append("alert", NOW, {"long": "x" * 2_000_000})
    with pytest.raises(ValueError, match="JSON compliant"):
        records.append("alert", NOW, {"value": math.nan})
    records.close()
