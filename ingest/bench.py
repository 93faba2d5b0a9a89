"""What reading the field costs: pages of nodes of eight GPUs with 25 metrics each (dcgm-exporter's shape), read and mapped."""

from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from time import perf_counter, process_time
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from ingest.mappings import load_mapping
from ingest.mappings.assets import Assets
from ingest.mappings.bind import Binding
from ingest.sources.exposition import Reader
from twin.load import Row, build_site
from twin.site import Site

GPUS = 8
FIELDS = (
    *("SM_CLOCK", "MEM_CLOCK", "MEMORY_TEMP", "GPU_TEMP", "POWER_USAGE", "TOTAL_ENERGY_CONSUMPTION", "PCIE_REPLAY_COUNTER"),
    *("GPU_UTIL", "MEM_COPY_UTIL", "ENC_UTIL", "DEC_UTIL", "XID_ERRORS", "FB_FREE", "FB_USED", "FB_RESERVED"),
    *("NVLINK_BANDWIDTH_TOTAL", "VGPU_LICENSE_STATUS", "UNCORRECTABLE_REMAPPED_ROWS", "CORRECTABLE_REMAPPED_ROWS"),
    *("ROW_REMAP_FAILURE", "POWER_MGMT_LIMIT", "CLOCK_THROTTLE_REASONS", "ECC_SBE_VOL_TOTAL", "ECC_DBE_VOL_TOTAL", "COUNT"),
)
_START = datetime(2026, 1, 1, tzinfo=UTC)


def dcgm_page(node: str, rng: np.random.Generator) -> str:
    """A page of dcgm-exporter on ``node``: 200 samples of eight labels, 250 bytes each, about a third with decimals."""
    lines = []
    for n, field in enumerate(FIELDS):
        name = f"DCGM_FI_DEV_{field}"
        lines += [f"# HELP {name} {field.lower().replace('_', ' ')} of the device.", f"# TYPE {name} gauge"]
        values = rng.integers(0, 10**6, GPUS)
        for gpu, value in enumerate(values.tolist()):
            number = f"{value / 1000:.6f}" if n % 3 == 0 else str(value % 1000)
            lines.append(
                f'{name}{{gpu="{gpu}",UUID="GPU-1d9c0b5e-7f34-4a11-9c1e-0000000000{gpu:02d}",pci_bus_id="0000:{gpu + 17}:00.0",'
                f'device="nvidia{gpu}",modelName="NVIDIA H100 80GB HBM3",Hostname="{node}",'
                f'DCGM_FI_DRIVER_VERSION="550.90.07",hpc_job="48213"}} {number}'
            )
    return "\n".join([*lines, ""])


def bench_ingest(rng: np.random.Generator, nodes: int = 50, rounds: int = 20, reference_pages: int = 5) -> dict[str, Any]:
    """Figures of reading and mapping the pages of ``nodes`` nodes ``rounds`` times after their first, as ``icctwin bench``
    prints them; against ``prometheus_client`` on ``reference_pages`` of the same pages, parsed only."""
    site, mapping = _site(nodes), load_mapping("dcgm")
    assets = Assets(site)
    pages = [[dcgm_page(f"node{i}", rng) for i in range(nodes)] for _ in range(4)]
    readers = [Reader(openmetrics=False) for _ in range(nodes)]
    first_s = process_time()
    bindings = [
        Binding(mapping, site, assets, reader.learn(page).layout.series, node=None, fixed=False)
        for reader, page in zip(readers, pages[0], strict=True)
    ]
    first_s = process_time() - first_s
    mapped, parse_s, map_s, wall_s = 0, np.zeros(rounds), np.zeros(rounds), perf_counter()
    for n in range(rounds):
        parse_s[n] = -process_time()
        read = [reader.read(text) for reader, text in zip(readers, pages[(n + 1) % 4], strict=True)]
        parse_s[n] += process_time()
        now = _START + timedelta(seconds=15 * n)
        map_s[n] = -process_time()
        for page, binding in zip(read, bindings, strict=True):
            if page is None:
                raise RuntimeError("a page of the bench was not read the fast way; the figures would mean nothing")
            frames = binding.frames(page.values, page.times_s, now, 15.0 * n, 15.0, "bench")
            mapped += sum(frame.rows.size * len(frame.values) for frame in frames)
        map_s[n] += process_time()
    reference_s = process_time()
    parsed = sum(len(family.samples) for text in pages[0][:reference_pages] for family in text_string_to_metric_families(text))
    reference_s = process_time() - reference_s
    per_page = GPUS * len(FIELDS)
    samples = nodes * per_page  # of a round; the median round counts, as the machine may have other work
    return {
        "bench": "ingest",
        "figures": {
            "parse_samples_per_s": samples / float(np.median(parse_s)),  # of one core, parsing alone
            "parse_cpu_s_per_msample": float(np.median(parse_s)) / samples * 1e6,
            "cpu_s_per_msample": float(np.median(parse_s + map_s)) / samples * 1e6,
            "first_page_cpu_s": first_s / nodes,
        },
        "against": {"prometheus_client_cpu_s_per_msample": reference_s / parsed * 1e6},
        "conditions": {
            "what": "exposition pages read and mapped to frames, without the fetch and the store",
            "nodes": nodes,
            "samples_per_page": per_page,
            "bytes_per_sample": len(pages[0][0]) / per_page,
            "mapped_frac": mapped / samples / rounds,
            "prometheus_client": version("prometheus-client"),
            "wall_s": perf_counter() - wall_s,
        },
    }


def _site(nodes: int) -> Site:
    rows = [{"id": "hall", "kind": "hall"}, {"id": "rack", "kind": "rack", "parent": "hall"}]
    for n in range(nodes):
        rows.append({"id": f"node{n}", "kind": "node", "parent": "rack"})
        rows += [{"id": f"node{n}.{g}", "kind": "gpu", "parent": f"node{n}", "index": str(g)} for g in range(GPUS)]
    return build_site("bench", "UTC", [Row("bench", row) for row in rows])
