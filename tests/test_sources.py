"""Mappings, rates, the host's counters and GPUs: what the two real sources make of what they read."""

import asyncio
import math
import re
import time
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.mappings import known_mappings, load_mapping
from ingest.mappings.assets import Assets
from ingest.mappings.bind import Binding
from ingest.registry import source_module
from ingest.sources import host, prometheus
from ingest.sources.nvml import Nvml
from ingest.wire import Answer
from twin.errors import ConfigError, SourceError
from twin.load import Row, build_site

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NAN = math.nan


def site(*more):
    cells = [
        {"id": "hall", "kind": "hall"},
        {"id": "rack", "kind": "rack", "parent": "hall"},
        {"id": "n0", "kind": "node", "parent": "rack", "hostname": "gpu-a01", "address": "10.0.0.1"},
        {"id": "g0", "kind": "gpu", "parent": "n0", "index": "0"},
        {"id": "g1", "kind": "gpu", "parent": "n0", "index": "1", "uuid": "GPU-b"},
        *more,
    ]
    return build_site("s", "UTC", [Row("test", row) for row in cells])


def bound(mapping, series, of=None, node=0):
    of = of or site()
    return Binding(mapping, of, Assets(of), series, node, fixed=True)


def values_of(binding, values, clock_s, times_s=None):
    frames = binding.frames(np.array(values, dtype=float), times_s, NOW, clock_s, 15.0, "x")
    return {(f.kind, m): v.tolist() for f in frames for m, v in f.values.items()}


CPU = [("node_cpu_seconds_total", {"cpu": c, "mode": m}) for c in "01" for m in ("idle", "iowait", "user", "system")]


def test_node_exporter_counters_become_shares_and_bits_per_second():
    net = [("node_network_receive_bytes_total", {"device": d}) for d in ("eth0", "eth1", "lo", "veth1", "bond0", "eth0.5")]
    binding = bound(load_mapping("node_exporter"), [*CPU, *net])
    was = [100, 10, 50, 5, 200, 20, 60, 6, 1e6, 2e6, 9e9, 9e9, 9e9, 9e9]
    first = values_of(binding, was, 0)
    assert np.isnan([first["node", "cpu_util_frac"], first["node", "net_rx_bps"]]).all()
    # 15 s on two cores: 30 s of which 18 idle, 3 waiting; eth0 and eth1 10 and 20 B/s
    grown = [9, 1, 4, 1, 9, 2, 3, 1, 150, 300, 7e9, 7e9, 7e9, 7e9]
    second = values_of(binding, np.add(was, grown), 15)
    assert second["node", "cpu_util_frac"] == pytest.approx([1 - 21 / 30])
    assert second["node", "net_rx_bps"] == pytest.approx([240])


@given(
    st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 10**9), st.booleans()), min_size=2, max_size=20),
)
def test_a_rate_is_the_growth_over_the_real_time_or_nothing(steps):
    mapping = load_mapping("node_exporter")
    binding = bound(mapping, [("node_network_transmit_bytes_total", {"device": "eth0"})])
    clock_s, count = 0.0, 0
    values_of(binding, [count], clock_s)
    for seconds, grown, reset in steps:
        clock_s += seconds
        was, count = count, grown if reset else count + grown
        (rate,) = values_of(binding, [count], clock_s)["node", "net_tx_bps"]
        if count < was:
            assert math.isnan(rate)
        else:
            assert rate == pytest.approx(8 * (count - was) / seconds)
    (rate,) = values_of(binding, [count + 1], clock_s + 1000)["node", "net_tx_bps"]
    assert math.isnan(rate)  # after ten intervals of silence a mean over them is no reading of now


def test_counters_survive_a_change_of_the_page_and_a_new_one_is_no_spike():
    mapping = load_mapping("node_exporter")
    series = [("node_disk_read_bytes_total", {"device": d}) for d in ("sda", "sdb", "dm-0")]
    old = bound(mapping, series[:1])
    values_of(old, [1000], 0)
    new = bound(mapping, series)
    new.inherit(old)
    assert math.isnan(values_of(new, [1015, 10**12, 5], 15)["node", "disk_read_bps"][0])  # sdb's growth is not known
    assert values_of(new, [1030, 10**12 + 15, 9], 30)["node", "disk_read_bps"] == [16]


def test_alternatives_sums_and_ratios_of_a_mapping(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        [assets.gpu]
        index = ["card"]
        [[metric]]
        kind = "gpu"
        metric = "temp_c"
        series = ["new", "old"]
        scale = 0.1
        offset = -273.15
        [[metric]]
        kind = "gpu"
        metric = "util_frac"
        series = "used"
        over = "total"
        [[metric]]
        kind = "gpu"
        metric = "mem_temp_c"
        series = "hbm"
        combine = "max"
        [[metric]]
        kind = "grid"
        metric = "price_per_mwh"
        series = "price"
        asset = "grid"
        """
    )
    cards = [{"card": "0"}, {"card": "1"}]
    series = [(name, labels) for name in ("old", "new", "used", "total") for labels in cards]
    series += [("hbm", {"card": "0", "stack": s}) for s in "ab"] + [("price", {}), ("new", {"card": "7"}), ("what", {})]
    binding = bound(load_mapping(str(file)), series, site({"id": "grid", "kind": "grid"}))
    values = values_of(binding, [9, 3031.5, 3031.5, NAN, 1, 5, 4, 0, 60, 70, 42, 1, 1], 0)
    np.testing.assert_allclose(values["gpu", "temp_c"], [30, NAN])
    np.testing.assert_allclose(values["gpu", "util_frac"], [0.25, NAN])  # nothing over nothing is not nothing
    np.testing.assert_allclose(values["gpu", "mem_temp_c"], [70, NAN])
    assert values["grid", "price_per_mwh"] == [42]
    assert binding.unmapped == 4  # the two old, card 7, what


def test_the_same_series_twice_counts_once():
    mapping = load_mapping("dcgm")
    twice = [("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", {"gpu": "0"})] * 2
    binding = bound(mapping, twice)
    assert values_of(binding, [3, 3], 0)["gpu", "nvlink_error_count"] == [3]
    assert binding.unmapped == 1


BAD = {
    'kind = "gpu"\nmetric = "speed"\nseries = "a"': r"m.toml: \[\[metric\]\] 1 \(gpu.speed\): no such metric of kind gpu",
    'kind = "car"\nmetric = "power_w"\nseries = "a"': "no such kind",
    'kind = "node"\nmetric = "power_w"\nseries = "a"\nderive = "x"': r"1 \(node.power_w\): derive: Extra inputs",
    'kind = "node"\nmetric = "power_w"\nseries = "a"\ncombine = "median"': r"1 \(node.power_w\): combine: Input should be",
    'kind = "node"\nmetric = "power_w"\nseries = "a"\nscale = 0': "scale 0",
    'kind = "node"\nmetric = "power_w"\nseries = "a"\nscale = nan': "scale nan",
    'kind = "node"\nmetric = "power_w"\nseries = "a"\nscale = "big"': r"scale: Input should be a valid number",
    'kind = "node"\nmetric = "power_w"\nseries = "a"\nwhere = { a = "(" }': "where.a: '\\('",
    'kind = "node"\nmetric = "power_w"\nseries = []': "series",
    'kind = "gpu"\nmetric = "power_w"\nseries = "a"': "nothing says which gpu",
    "\n[[metric]]\n".join(['kind = "node"\nmetric = "power_w"\nseries = "a"'] * 2): "stands twice",
    'kind = "node"\nmetric = "power_w"\nseries = "a"\nshare = { a = "b" }\nover = "c"': "leave out",
    'kind = "node"\nmetric': "is not TOML",
}


@pytest.mark.parametrize("entry", BAD)
def test_a_wrong_mapping_says_file_entry_and_what(tmp_path, entry):
    file = tmp_path / "m.toml"
    file.write_text(f"[[metric]]\n{entry}\n")
    with pytest.raises(ConfigError) as caught:
        load_mapping(str(file))
    assert re.search(BAD[entry], str(caught.value))
    assert str(caught.value).startswith(str(file))


def test_the_mappings_that_come_along_are_right_and_a_missing_one_is_named():
    for name in known_mappings():
        assert load_mapping(name).about
    with pytest.raises(ConfigError, match=r"nowhere.toml: cannot be read.*dcgm.*node_exporter"):
        load_mapping("nowhere.toml")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"targets": []}, "nothing to read"),
        ({"targets": "ftp://a"}, "neither host:port"),
        ({"targets": "http://me:word@a"}, "secret"),
        ({"targets": ["a:1", "a:1"]}, "stands 2 times"),
        ({"targets": ["a:1", "b:1"], "node": "n0"}, "each node a source"),
        ({"file_sd": "a.json", "node": "n0"}, "a discovery"),
        ({"targets": "a", "cert_file": "c.pem"}, "belong together"),
        ({"targets": "a", "username": "u", "bearer_token_file": "t"}, "exclude each other"),
        ({"targets": "a", "password_file": "p"}, "without username"),
        ({"targets": "a", "headers": {"authorization": "x"}}, "bearer_token_file"),
        ({"targets": "a", "every_s": 0}, "greater than or equal"),
        ({"targets": "a", "interval": 1}, "Extra inputs"),
    ],
)
def test_wrong_options_of_a_prometheus_source_are_refused(options, says):
    with pytest.raises(ValidationError, match=says):
        prometheus.Options(**{"mapping": "dcgm", **options})


def test_targets_are_addressed_and_named():
    options = prometheus.Options(
        targets=["a:1", "https://b/probe?target=x", "https://b/probe?target=y", "http://[::1]:9100"], mapping="dcgm"
    )
    assert [str(prometheus.target_url(t)) for t in options.targets] == [
        "http://a:1/metrics",
        "https://b/probe?target=x",
        "https://b/probe?target=y",
        "http://[::1]:9100/metrics",
    ]
    assert prometheus.source_ids("s", options) == ["s/a:1", "s/b:443/probe?target=x", "s/b:443/probe?target=y", "s/[::1]:9100"]


@pytest.mark.parametrize("type_name", ["host", "prometheus"])
def test_a_source_whose_node_the_site_lacks_names_those_it_has(type_name):
    module = source_module(type_name)
    more = {"targets": "a", "mapping": "dcgm"} if type_name == "prometheus" else {}
    for node in ("nobody", "g0"):
        with pytest.raises(ConfigError, match=f"source s: node '{node}' is no node of the site .known: n0.; name one"):
            module.build("s", module.Options(node=node, **more), site())


def test_a_node_is_found_by_hostname_id_or_address_and_a_shared_name_finds_none():
    assets = Assets(site({"id": "n1", "kind": "node", "parent": "rack", "hostname": "twin"}))
    assert [assets.node(name) for name in ("gpu-a01", "n0", "10.0.0.1", "10.0.0.1:9100", "gpu-a01:9400", "n1")] == [0] * 5 + [1]
    assert assets.node("nobody") is None
    assert Assets(site({"id": "n1", "kind": "node", "parent": "rack", "hostname": "gpu-a01"})).node("gpu-a01") is None


async def test_a_page_that_is_still_being_learnt_is_not_learnt_a_second_time(monkeypatch):
    """A poll that runs out of time leaves its page to the thread; what it learns serves a later poll."""
    source = prometheus.build("x", prometheus.Options(targets="a", mapping="dcgm"), site()).sources[0]._scraper
    real = source._reader.learn
    go_on = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow_learn(text):
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        return real(text)

    monkeypatch.setattr(source._reader, "learn", slow_learn)
    answer = Answer(b'DCGM_FI_DEV_GPU_TEMP{gpu="0"} 5\n', "text/plain", "a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(source._page(answer), 0.05)
    with pytest.raises(SourceError, match="still being read"):
        await source._page(answer)
    go_on.set()
    await source._learning
    assert (await source._page(answer)).values.tolist() == [5]
    await source.close()


def rapl_tree(root, **zones):
    for zone, (name, energy_uj) in zones.items():
        folder = root / "class" / "powercap" / f"intel-rapl:{zone.strip('_').replace('_', ':')}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "energy_uj").write_text(f"{energy_uj}\n")
        (folder / "max_energy_range_uj").write_text("262143328850\n")
    return root


def test_rapl_counters_wrap_without_a_loss_and_only_the_platform_is_the_node(tmp_path):
    rapl_tree(tmp_path, _0=("package-0", 262143000000), _0_0=("dram", 10_000_000), _0_1=("core", 5), _1=("psys", 7_000_000))
    rapl = host.Rapl(tmp_path / "class" / "powercap")
    first = rapl.read()
    assert first == pytest.approx({"cpu_energy_j": 262153, "energy_j": 7})
    rapl_tree(tmp_path, _0=("package-0", 671150), _0_0=("dram", 11_000_000), _1=("psys", 9_000_000))
    second = rapl.read()
    assert second["cpu_energy_j"] - first["cpu_energy_j"] == pytest.approx(1 + 1)
    assert second["energy_j"] == pytest.approx(9)
    (tmp_path / "class/powercap/intel-rapl:1/energy_uj").unlink()  # no right to read it
    assert "energy_j" not in rapl.read()


class NVMLError(Exception):
    pass


class NVMLErrorFunctionNotFound(NVMLError):
    pass


def fake_nvml(gpus):
    """The functions of NVML for ``gpus``: uuid -> readings; a function that a GPU has no reading for is not supported."""

    def reading(name):
        def call(handle, *_):
            if name not in gpus[handle]:
                raise NVMLError(name)
            return gpus[handle][name]

        return call

    getters = ("PowerUsage", "EnforcedPowerLimit", "TotalEnergyConsumption", "Temperature", "ClockInfo", "PcieReplayCounter")
    getters += ("UtilizationRates", "MemoryInfo", "FieldValues", "CurrentClocksEventReasons", "TotalEccErrors", "RemappedRows")
    calls = {f"nvmlDeviceGet{name}": reading(name) for name in getters}
    return SimpleNamespace(
        NVMLError=NVMLError,
        NVMLError_FunctionNotFound=NVMLErrorFunctionNotFound,
        NVMLError_Uninitialized=NVMLError,
        NVML_SUCCESS=0,
        NVML_FI_DEV_MEMORY_TEMP=82,
        NVML_TEMPERATURE_GPU=0,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_MEMORY_ERROR_TYPE_CORRECTED=0,
        NVML_MEMORY_ERROR_TYPE_UNCORRECTED=1,
        NVML_VOLATILE_ECC=0,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(gpus),
        nvmlDeviceGetHandleByIndex=lambda i: list(gpus)[i],
        nvmlDeviceGetUUID=lambda handle: handle,
        **calls,
    )


async def test_gpus_of_this_machine_in_our_units_and_what_one_lacks_is_nan(tmp_path):
    readings = {
        "PowerUsage": 312_500,
        "TotalEnergyConsumption": 5_000_000,
        "Temperature": 61,
        "ClockInfo": 1410,
        "UtilizationRates": SimpleNamespace(gpu=87, memory=40),
        "MemoryInfo": SimpleNamespace(used=7, free=3),
        "FieldValues": [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=70))],
        "CurrentClocksEventReasons": 4,
        "RemappedRows": (0, 2, 0, 1),
    }
    gpus = {"GPU-b": readings, "GPU-a": {"Temperature": 30}, "GPU-x": readings}
    node = host.Options(node="n0")
    source = host.HostSource("x", node, site(), sys=tmp_path, nvml=Nvml(fake_nvml(gpus)))
    frames = {frame.kind: frame for frame in await source.poll(NOW)}
    await source.close()
    # GPU-b is g1 by its uuid though it has index 0; GPU-a has index 1, which is g1's, so it is nobody; GPU-x has index 2
    gpu = frames["gpu"]
    assert gpu.rows.tolist() == [1]
    assert {metric: values[0] for metric, values in gpu.values.items()} == {
        "power_w": 312.5,
        "energy_j": 5000,
        "temp_c": 61,
        "mem_temp_c": 70,
        "sm_clock_hz": 1410e6,
        "mem_clock_hz": 1410e6,
        "util_frac": 0.87,
        "mem_copy_util_frac": 0.4,
        "mem_used_bytes": 7,
        "mem_free_bytes": 3,
        "throttle_code": 4,
        "remapped_rows_count": 2,
        "row_remap_failure_flag": 1,
    }
    assert source.unmapped >= 2


async def test_this_machine_says_nothing_of_what_it_lacks(tmp_path):
    of = site({"id": "p", "kind": "port", "parent": "n0", "device": "no-such-nic"})
    lost = fake_nvml({})
    lost.nvmlInit = partial(fake_nvml({"": {}}).nvmlDeviceGetPowerUsage, "")  # raises NVMLError: no driver
    source = host.HostSource("x", host.Options(node="n0"), of, sys=tmp_path, nvml=Nvml(lost))
    (frame,) = await source.poll(NOW)
    await source.close()
    assert frame.kind == "node"
    assert frame.values.keys() >= {"up_flag", "uptime_s", "cpu_util_frac", "mem_total_bytes", "mem_used_bytes", "load1_ratio"}
    assert not frame.values.keys() & {"power_w", "energy_j", "cpu_power_w", "disk_read_bps"}
    assert np.isnan(frame.values["cpu_util_frac"]).all()  # of one reading there is no share


async def test_a_part_that_hangs_is_absent_and_is_not_started_twice(monkeypatch):
    monkeypatch.setattr(host, "WAIT_S", 0.05)
    started = []

    def hang():
        started.append(1)
        time.sleep(0.3)
        return "late"

    aside = host.Aside(hang)
    assert await aside.get() is None
    assert await aside.get() is None
    assert len(started) == 1
    await asyncio.sleep(0.4)
    monkeypatch.setattr(host, "WAIT_S", 5)
    assert await aside.get() == "late"
    assert len(started) == 2
