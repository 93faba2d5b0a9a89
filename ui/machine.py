"""What this machine is, for the site that ``icctwin init`` writes and for the demo's own corner."""

import contextlib
import socket
import zoneinfo
from pathlib import Path

import psutil

from twin.starter import Machine


def machine_facts() -> Machine:
    """Host name, GPUs, network interfaces and mount points of this machine, as far as they can be read without rights."""
    interfaces = sorted(
        name for name in psutil.net_if_stats() if name != "lo" and not name.startswith(("veth", "docker", "br-"))
    )
    mounts = sorted({part.mountpoint for part in psutil.disk_partitions(all=False)})
    return Machine(socket.gethostname(), _gpus(), interfaces, mounts)


def machine_timezone(etc: Path = Path("/etc")) -> str:
    """Name of the time zone that this machine is set to, UTC where it does not say one that is known here."""
    said = [str((etc / "localtime").resolve()).partition("zoneinfo/")[2]]
    with contextlib.suppress(OSError, UnicodeDecodeError):
        said.append((etc / "timezone").read_text(encoding="utf-8").strip())
    known = zoneinfo.available_timezones()
    return next((name for name in said if name in known), "UTC")


def _gpus() -> list[tuple[str, str]]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver: a machine without NVIDIA GPUs
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [(pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()
