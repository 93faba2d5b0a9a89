"""Every exporter that icctwin knows: a page of it gives its golden values, in our units, for the assets that it speaks of."""

import csv
import math
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ingest.mappings import FOLDER, best_mapping, known_mappings, load_mapping
from ingest.mappings.assets import Assets
from ingest.mappings.bind import Binding
from ingest.push import line_protocol
from ingest.push.series import Pushed
from ingest.sources.exposition import Reader
from twin.errors import ConfigError
from twin.load import Row, build_site

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MIB = 2.0**20
NAN = math.nan

ASSETS = [
    {"id": "hall", "kind": "hall"},
    {"id": "rack", "kind": "rack", "parent": "hall"},
    {"id": "node", "kind": "node", "parent": "rack", "hostname": "mi300-01"},
    {"id": "gpu0", "kind": "gpu", "parent": "node", "index": "0"},
    {"id": "gpu1", "kind": "gpu", "parent": "node", "index": "1"},
    {"id": "hsn", "kind": "port", "parent": "node", "device": "hsn0"},
    {"id": "ib0", "kind": "port", "parent": "node", "device": "mlx5_0"},
    {"id": "ib1", "kind": "port", "parent": "node", "device": "mlx4_0/1"},
    {"id": "sda", "kind": "disk", "parent": "node", "device": "sda"},
    {"id": "nvme0", "kind": "disk", "parent": "node", "device": "nvme0"},
    {"id": "switch", "kind": "switch", "parent": "rack"},
    {"id": "sp1", "kind": "port", "parent": "switch", "uuid": "0x7cfe9003009ce5b0/1"},
    {"id": "store", "kind": "storage"},
    {"id": "pool3", "kind": "storage", "uuid": "pool/3"},
    {"id": "queue", "kind": "queue"},
]
# page -> (kind, asset) -> metric -> value; each page is read twice, every number 1,500 larger 15 s later where it is a rate
GOLDEN = {
    "amd": {
        ("gpu", "gpu0"): {
            "power_w": 612,
            "energy_j": 6.12e8,
            "util_frac": 0.97,
            "temp_c": 78,
            "mem_temp_c": 61,
            "sm_clock_hz": 2.1e9,
            "mem_clock_hz": 1.3e9,
            "mem_used_bytes": 150000 * MIB,
            "ecc_uncorrected_count": 1,
        },
        ("gpu", "gpu1"): {"power_w": 598, "util_frac": 0.64, "temp_c": 75},
    },
    "omnistat": {
        ("gpu", "gpu0"): {
            "power_w": 135,
            "temp_c": 52,
            "mem_temp_c": 46,
            "util_frac": 0.88,
            "mem_used_frac": 0.25,
            "ecc_corrected_count": 5,
            "ecc_uncorrected_count": 0,
            "sm_clock_hz": 1.502e9,
        },
        ("gpu", "gpu1"): {"power_w": 133, "temp_c": 39},
        ("node", "node"): {
            "load1_ratio": 17.5,
            "cpu_util_frac": 0.25,
            "mem_total_bytes": 5.4e11,
            "mem_used_bytes": 4e10,
            "disk_read_bps": 800,
        },
        ("port", "hsn"): {"rx_bps": 800, "tx_bps": 800},
    },
    "ascend": {
        ("gpu", "gpu0"): {"power_w": 93.4, "temp_c": 47, "unhealthy_flag": 0},
        ("gpu", "gpu1"): {
            "power_w": 310.1,
            "mem_temp_c": 55,
            "util_frac": 0.92,
            "tensor_active_frac": 0.92,
            "sm_clock_hz": 1.8e9,
            "mem_used_bytes": 61000 * MIB,
            "mem_free_bytes": 4536 * MIB,
            "unhealthy_flag": 1,
            "npu_error_code": 2150371331,
        },
    },
    "infiniband": {
        ("port", "sp1"): {
            "tx_bps": 800,
            "rx_bps": 800,
            "error_count": 5,
            "link_down_count": 4,
            "link_recovery_count": 1,
            "wait_count": 41864608,
            "discard_count": 7,
        }
    },
    "ceph": {
        ("storage", "store"): {
            "health_code": 1,
            "total_bytes": 1e15,
            "used_bytes": 4e14,
            "used_frac": 0.4,
            "parts_up_frac": 0.75,
            "latency_s": 0.003,
            "read_bps": 1600,
        },
        ("storage", "pool3"): {"used_bytes": 219902325555, "read_bps": 800},
    },
    "lustre": {
        ("storage", "store"): {
            "total_bytes": 2e6 * 1024,
            "used_bytes": 1.6e6 * 1024,
            "used_frac": 0.8,
            "read_bps": 1600,
            "write_bps": 800,
            "health_code": 0,
        }
    },
    "slurm": {("queue", "queue"): {"running_count": 15, "waiting_count": 40, "gpus_allocated_count": 78}},
    "ipmi": {
        ("node", "node"): {
            "power_w": 6420,
            "inlet_temp_c": 24,
            "temp_c": 64,
            "powered_flag": 1,
            "sel_count": 14,
            "psu_code": 1,
        },
    },
    "inference": {("node", "node"): {"tokens_per_s": 200}},  # two engines, each 1500 tokens further after 15 s
    "smartctl": {
        ("disk", "sda"): {
            "reallocated_count": 16,
            "spin_retry_count": 0,
            "reported_uncorrected_count": 3,
            "command_timeout_count": 1,
            "high_fly_write_count": 0,
            "reallocation_event_count": 4,
            "pending_count": 8,
            "offline_uncorrected_count": 8,
            "failing_flag": 0,
            "powered_on_s": 7.8966e7,
            "temp_c": 34,
        },
        ("disk", "nvme0"): {
            "media_error_count": 12,
            "wear_ratio": 1.04,
            "failing_flag": 1,
            "powered_on_s": 3.6e7,
            "temp_c": 51,
        },
    },
    "node-infiniband": {
        ("node", "node"): {"up_flag": 1},
        ("port", "ib0"): {
            "rx_bps": 800,
            "tx_bps": 800,
            "link_down_count": 2,
            "link_recovery_count": 1,
            "error_count": 11,
            "wait_count": 4294967295,
        },
        ("port", "ib1"): {"rx_bps": 800},
    },
}


def read(fixtures, name):
    return Reader(openmetrics=False).learn((fixtures / "prometheus" / f"{name}.txt").read_text())


@pytest.mark.parametrize("name", GOLDEN)
def test_a_page_gives_its_golden_values(fixtures, name):
    page, site = read(fixtures, name), build_site("s", "UTC", [Row("test", row) for row in ASSETS])
    found = best_mapping({series for series, _ in page.layout.series})
    assert found is not None
    assert found[0] == ("node_exporter" if name == "node-infiniband" else name), "the page is recognised by itself"
    mapping, given = found[1], {"storage": site.row("store"), "queue": site.row("queue")}
    binding = Binding(mapping, site, Assets(site), page.layout.series, site.row("node"), fixed=False, given=given)
    rated = {s for entry in mapping.metric if entry.rate for s in entry.series}
    later = page.values + np.array([1500.0 * (series in rated) for series, _ in page.layout.series])
    binding.frames(page.values, None, NOW, 0, 15, "x")
    values = {
        (frame.kind, site.ids_of(frame.kind)[row], metric): float(column[i])
        for frame in binding.frames(later, None, NOW, 15, 15, "x")
        for metric, column in frame.values.items()
        for i, row in enumerate(frame.rows.tolist())
    }
    for (kind, asset), metrics in GOLDEN[name].items():
        mine = {metric: value for (k, a, metric), value in values.items() if (k, a) == (kind, asset) and not math.isnan(value)}
        for metric, value in metrics.items():
            assert mine[metric] == pytest.approx(value, rel=1e-9), (asset, metric)
    told = {key for key, value in values.items() if not math.isnan(value)}
    assert {(k, a) for k, a, _ in told} == set(GOLDEN[name]), "nobody else is spoken of"


def test_each_mapping_that_ships_is_shown_by_a_page():
    pushed = {"telegraf"}  # below
    assert set(known_mappings()) == (set(GOLDEN) - {"node-infiniband"}) | {"dcgm", "node_exporter"} | pushed


def test_what_telegraf_pushes_gives_its_golden_values(fixtures):
    site = build_site("s", "UTC", [Row("test", row) for row in ASSETS])
    pushed = Pushed("x", [load_mapping("telegraf")], site, None, {})
    batch = line_protocol.read((fixtures / "push" / "telegraf.lp").read_bytes(), "ns", NOW)
    assert batch.left_out == 0
    later = NOW + timedelta(seconds=60)
    values = {
        (site.ids_of(frame.kind)[row], metric): float(column[i])
        for frame in [*pushed.take(batch, NOW), *pushed.settle(later)]
        for metric, column in frame.values.items()
        for i, row in enumerate(frame.rows.tolist())
        if not math.isnan(column[i])
    }
    assert values == pytest.approx(
        {
            **{("gpu0", "power_w"): 652.4, ("gpu0", "power_cap_w"): 700, ("gpu0", "temp_c"): 61, ("gpu0", "util_frac"): 0.97},
            **{("gpu0", "mem_copy_util_frac"): 0.4, ("gpu0", "sm_clock_hz"): 1.98e9, ("gpu0", "mem_clock_hz"): 2.619e9},
            **{("gpu0", "mem_used_bytes"): 66000 * MIB, ("gpu0", "mem_free_bytes"): 15000 * MIB},
            **{("gpu1", "power_w"): 512, ("gpu1", "temp_c"): 66, ("gpu1", "util_frac"): 0.12},
            **{("node", "cpu_util_frac"): 0.25, ("node", "load1_ratio"): 17.5, ("node", "uptime_s"): 345600},
            **{("node", "mem_total_bytes"): 5.4e11, ("node", "mem_used_bytes"): 4e10, ("node", "power_w"): 6420},
            **{("node", "inlet_temp_c"): 24, ("node", "net_rx_bps"): 800, ("node", "net_tx_bps"): 0},
            **{("hsn", "rx_bps"): 800, ("hsn", "tx_bps"): 0, ("hsn", "error_count"): 3},
        }
    )
    assert list(pushed.unmapped_names) == ["net_bytes_recv"], "of the port called all"


def test_the_recommended_counters_are_those_that_the_mapping_reads(shared_data):
    with (FOLDER / "dcgm-counters.csv").open() as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if row and not row[0].startswith("#")]
    assert all(len(row) == 3 and row[1] in ("gauge", "counter", "label") for row in rows), "dcgm-exporter wants three fields"
    fields = [row[0] for row in rows if row[1] != "label"]
    assert len(set(fields)) == len(fields)
    mapping = load_mapping("dcgm")
    assert set(fields) <= mapping.names
    for entry in mapping.metric:
        assert set(entry.series) & set(fields), f"nothing in the list gives {entry.metric}"
    known = (shared_data / "prometheus" / "dcgm-default-counters.csv").read_text()
    strange = [field for field in fields if field not in known]
    assert strange in ([], ["DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "DCGM_FI_DEV_CLOCKS_EVENT_REASONS"]), strange


def test_a_gpu_cut_into_instances_is_read_from_them_where_it_has_no_reading_of_its_own():
    site = build_site("s", "UTC", [Row("test", row) for row in ASSETS])
    whole, parts = (
        {"gpu": "0"},
        [{"gpu": "1", "GPU_I_ID": str(i), "GPU_I_PROFILE": p} for i, p in enumerate(("3g.40gb", "4g.40gb"))],
    )
    named = [(name, part) for name in ("TEMP", "FB", "SM") for part in (whole, *parts)]
    named += [("SM", {"gpu": "0", "GPU_I_ID": "1", "GPU_I_PROFILE": "1g.10gb"})]
    real = {"TEMP": "DCGM_FI_DEV_GPU_TEMP", "FB": "DCGM_FI_DEV_FB_USED", "SM": "DCGM_FI_PROF_SM_ACTIVE"}
    series = [(real[name], labels) for name, labels in named]
    binding = Binding(load_mapping("dcgm"), site, Assets(site), series, site.row("node"), fixed=True)
    values = np.array([60, 55, 55, 1000, 300, 400, 0.5, 1.0, 0.5, 0.9])
    (frame,) = binding.frames(values, None, NOW, 0, 15, "x")
    assert frame.values["temp_c"].tolist() == [60, 55]
    assert frame.values["mem_used_bytes"].tolist() == [1000 * MIB, 700 * MIB]
    np.testing.assert_allclose(frame.values["sm_active_frac"], [0.5, (3 * 1.0 + 4 * 0.5) / 7])
    assert binding.unmapped == 0


def test_a_metric_that_is_made_up_for_each_asset_by_an_entry_of_its_own_is_told_of_all(tmp_path):
    site = build_site("s", "UTC", [Row("t:1", {"id": "c1", "kind": "cdu"}), Row("t:2", {"id": "c2", "kind": "cdu"})])
    file = tmp_path / "mine.toml"
    entry = '[[metric]]\nkind = "cdu"\nmetric = "flow_kgps"\nseries = "{0}"\ncombine = "sum"\nasset = "{1}"\n'
    file.write_text(entry.format("a", "c1") + entry.format("b", "c2"))
    series = [(name, {"pump": str(i)}) for name in "ab" for i in range(2)]
    (frame,) = Binding(load_mapping(file), site, Assets(site), series, None, fixed=False).frames(
        np.array([1.0, 2.0, 3.0, 4.0]), None, NOW, 0, 15, "x"
    )
    assert frame.values["flow_kgps"].tolist() == [3.0, 7.0]


@pytest.mark.parametrize(("model", "profiles", "active_frac"), [
    ("NVIDIA A100-SXM4-80GB", ["3g.40gb", "4g.40gb"], 1.0), ("NVIDIA H100 NVL", ["1g.24gb"], 1 / 7), ("", ["2g.20gb"], 2 / 7),
    ("NVIDIA A30", ["4g.24gb"], 1.0), ("NVIDIA A30", ["2g.12gb", "1g.6gb+me"], 0.75),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", ["1g.24gb"], 0.25),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", ["4g.96gb"], 1.0),
    ("NVIDIA RTX PRO 5000 Blackwell", ["1g.24gb", "1g.24gb"], 1.0), ("NVIDIA RTX PRO 4500 Blackwell", ["1g.16gb"], 0.5),
])  # fmt: skip
def test_instances_count_by_the_slices_that_their_model_has(model, profiles, active_frac):
    site = build_site("s", "UTC", [Row("test", row) for row in ASSETS])
    names = ("GR_ENGINE_ACTIVE", "SM_ACTIVE", "PIPE_TENSOR_ACTIVE", "DRAM_ACTIVE")
    labels = [{"gpu": "1", "modelName": model, "GPU_I_ID": str(i), "GPU_I_PROFILE": p} for i, p in enumerate(profiles)]
    series = [(f"DCGM_FI_PROF_{name}", one) for name in names for one in labels]
    binding = Binding(load_mapping("dcgm"), site, Assets(site), series, site.row("node"), fixed=True)
    (frame,) = binding.frames(np.ones(len(series)), None, NOW, 0, 15, "x")
    assert len(frame.values) == 4
    for name, column in frame.values.items():
        assert column == pytest.approx([active_frac]), name


def test_the_hottest_processor_that_a_controller_names_is_no_power_supply():
    """Names as Supermicro, Dell, HPE, Lenovo, Cisco, Intel, Gigabyte and Huawei give them."""
    processors = """CPU Temp, CPU1 Temp, CPU 2 Temp, Temp, 02-CPU 1, 03-CPU 2 PkgTmp, P1_TEMP_SENS, P2 Temp, CPU0_TEMP,
        TEMP_CPU0, Temp CPU 1, Proc 1 Temp, Processor 2 Temperature, CPU1 Core Temp, CPU1"""
    others = """PSU1 Temp, PS1 Temp, PS1 Temperature, Pwr Supply 1 Temp, PCIe Slot1 Temp, PCH Temp, Peripheral Temp,
        PVCCIN Temp, CPU1 VRM Temp, CPU1_VR_TEMP, VRMCpu1 Temp, CPU1 DIMM Temp, P1-DIMMA1 Temp, 04-P1 DIMM 1-6, 12-VR P1, P1,
        CPU1 DTS, P1 Therm Margin, P1 DTS Therm Mgn, CPU1 Core Rem, CPU1 VDDQ Temp, CPU1 MEM Temp, Inlet Temp, GPU1 Temp"""
    wrong = re.split(r",\s+", others)
    site = build_site("s", "UTC", [Row("test", row) for row in ASSETS])
    for number, name in enumerate(re.split(r",\s+", processors)):
        named = [name, *wrong]
        series = [("ipmi_temperature_celsius", {"id": str(i), "name": one}) for i, one in enumerate(named)]
        binding = Binding(load_mapping("ipmi"), site, Assets(site), series, site.row("node"), fixed=True)
        (frame,) = binding.frames(np.array([40.0 + number] + [70.0] * len(wrong)), None, NOW, 0, 15, "x")
        assert frame.values["temp_c"].tolist() == [40 + number], name


def test_a_counter_of_32_bits_that_begins_anew_at_its_end_goes_on_and_a_restarted_one_does_not(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        '[[metric]]\nkind = "node"\nmetric = "net_rx_bps"\nseries = "octets"\nrate = true\nwrap = 4294967296\nscale = 8\n'
    )
    site = build_site("s", "UTC", [Row("test", row) for row in ASSETS])
    binding = Binding(load_mapping(str(file)), site, Assets(site), [("octets", {})], site.row("node"), fixed=True)
    rates = []
    for second, count in ((0, 2**32 - 500), (10, 500), (20, 1500), (30, 100)):
        (frame,) = binding.frames(np.array([float(count)]), None, NOW, second, 10, "x")
        rates.append(float(frame.values["net_rx_bps"][0]))
    np.testing.assert_allclose(rates, [NAN, 800, 800, NAN])


def test_a_mapping_of_ones_own_may_extend_one_that_ships(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'extends = "dcgm"\nnode_labels = ["server"]\nignore = ["mine_.*"]\n'
        '[[metric]]\nkind = "gpu"\nmetric = "power_w"\nseries = "mine_power_kw"\nscale = 1000\n'
    )
    mapping = load_mapping(str(file))
    base = load_mapping("dcgm")
    assert len(mapping.metric) == len(base.metric)
    (power,) = [entry for entry in mapping.metric if entry.metric == "power_w"]
    assert power.series == ("mine_power_kw",)
    assert mapping.node_labels == (*base.node_labels, "server")
    assert mapping.assets == base.assets
    file.write_text('extends = "nobody"\n')
    with pytest.raises(ConfigError, match="comes not with icctwin"):
        load_mapping(str(file))


WRONG = {
    "weight = { a = '(\\d+)' }": "weight counts in sums",
    "wrap = 10": "write rate = true",
    "weight = { a = '(' }\ncombine = 'sum'": "no regular expression",
    "weight = { a = 'b' }\ncombine = 'sum'": "a group",
    "weight_of_by = { a = { '(' = 2 } }": "no regular expression",
    "weight_of_by = { a = { 'b' = 0 } }": "greater than 0",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_makes_no_sense_in_a_mapping_is_said(tmp_path, line):
    file = tmp_path / "mine.toml"
    file.write_text(f'[[metric]]\nkind = "node"\nmetric = "power_w"\nseries = "a"\n{line}\n')
    with pytest.raises(ConfigError) as caught:
        load_mapping(str(file))
    assert WRONG[line] in str(caught.value)
