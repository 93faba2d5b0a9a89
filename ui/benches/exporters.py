"""Exporters for the ingest bench: one light process that serves the pages of many nodes over HTTP, ready made and packed.

``python -m ui.benches.exporters --nodes 1250`` prints its port. ``/n17/metrics`` is the page of node 17, ``/served`` says how
many pages went out, and how many of the node that gave fewest.
"""

import argparse
import asyncio
import gzip
import json
import sys
from collections.abc import Sequence

import numpy as np

GPUS, GPU_SERIES, NODE_SERIES = 8, 25, 60
SAMPLES = GPUS * GPU_SERIES + NODE_SERIES
VARIANTS = 4  # pages of a node, one after the other: no two scrapes in a row find the same numbers
_DCGM = (
    *("SM_CLOCK", "MEM_CLOCK", "MEMORY_TEMP", "GPU_TEMP", "POWER_USAGE", "TOTAL_ENERGY_CONSUMPTION", "PCIE_REPLAY_COUNTER"),
    *("GPU_UTIL", "MEM_COPY_UTIL", "ENC_UTIL", "DEC_UTIL", "XID_ERRORS", "FB_FREE", "FB_USED", "FB_RESERVED"),
    *("NVLINK_BANDWIDTH_TOTAL", "VGPU_LICENSE_STATUS", "UNCORRECTABLE_REMAPPED_ROWS", "CORRECTABLE_REMAPPED_ROWS"),
    *("ROW_REMAP_FAILURE", "POWER_MGMT_LIMIT", "CLOCK_THROTTLE_REASONS", "ECC_SBE_VOL_TOTAL", "ECC_DBE_VOL_TOTAL", "COUNT"),
)
_LOW = (1000, 2619, 40, 35, 90, 10**12, 0, 0, 0, 0, 0, 0, 1000, 1000, 500, 10**6, 0, 0, 0, 0, 700, 0, 0, 0, 8)
_WIDE = (980, 1, 50, 45, 600, 10**9, 1, 101, 101, 1, 1, 1, 70000, 70000, 1, 10**9, 1, 1, 1, 1, 1, 2, 3, 1, 1)
_NODE = (
    *("node_load1", "node_load5", "node_load15", "node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes"),
    *("node_time_seconds", "node_boot_time_seconds", "node_exporter_build_info", "node_procs_running", "node_procs_blocked"),
)


def page(node: int, rng: np.random.Generator) -> bytes:
    """A page as dcgm-exporter and node_exporter on one node would give it: ``SAMPLES`` series, a third with decimals."""
    host, lines = f"node{node}", []
    for n, field in enumerate(_DCGM):
        name = f"DCGM_FI_DEV_{field}"
        lines += [f"# HELP {name} {field.lower().replace('_', ' ')} of the device.", f"# TYPE {name} gauge"]
        for gpu, value in enumerate((_LOW[n] + rng.integers(0, _WIDE[n], GPUS)).tolist()):
            said = f"{value + rng.random():.3f}" if field in ("POWER_USAGE", "NVLINK_BANDWIDTH_TOTAL") else str(value)
            lines.append(
                f'{name}{{gpu="{gpu}",UUID="GPU-1d9c0b5e-7f34-4a11-{node:04x}-0000000000{gpu:02d}",'
                f'pci_bus_id="00000000:{gpu + 17}:00.0",device="nvidia{gpu}",modelName="NVIDIA H100 80GB HBM3",'
                f'Hostname="{host}",DCGM_FI_DRIVER_VERSION="550.90.07"}} {said}'
            )
    for name in _NODE:
        lines += [f"# TYPE {name} gauge", f'{name}{{Hostname="{host}"}} {1e9 * rng.random():.3f}']
    lines.append("# TYPE node_cpu_seconds_total counter")
    for cpu in range((NODE_SERIES - len(_NODE)) // 2):
        for mode in ("idle", "user"):
            lines.append(f'node_cpu_seconds_total{{cpu="{cpu}",mode="{mode}",Hostname="{host}"}} {1e6 * rng.random():.2f}')
    return "\n".join([*lines, ""]).encode()


class Exporters:
    """The pages, ready to be sent, and how often each was."""

    def __init__(self, nodes: int, seed: int) -> None:
        rng = np.random.Generator(np.random.PCG64(seed))
        self._pages = [[_answer(page(node, rng)) for _ in range(VARIANTS)] for node in range(nodes)]
        self._served = [0] * nodes

    def answer(self, path: bytes) -> bytes:
        """What is sent for ``path``."""
        if path == b"/served":
            body = json.dumps({"pages": sum(self._served), "fewest": min(self._served)}).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        node = int(path[2 : path.index(b"/", 2)])
        count = self._served[node]
        self._served[node] = count + 1
        return self._pages[node][count % VARIANTS]


class Connection(asyncio.Protocol):
    """Answers GETs on a kept-open connection; knows just enough HTTP for that."""

    def __init__(self, exporters: Exporters) -> None:
        self._exporters = exporters
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody came."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a server of streams gives
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A request, mostly whole."""
        *heads, self._head = (self._head + data).split(b"\r\n\r\n")
        for head in heads:
            self._transport.write(self._exporters.answer(head.split(b" ", 2)[1]))


def _answer(body: bytes) -> bytes:
    packed = gzip.compress(body, 5)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Encoding: gzip\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(packed) + packed


async def _run(nodes: int, seed: int) -> None:
    exporters = Exporters(nodes, seed)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(exporters), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=1250)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    asyncio.run(_run(options.nodes, options.seed))


if __name__ == "__main__":
    main()
