"""What this machine is, for the site that ``icctwin init`` writes and for the demo's own corner."""

import socket
from pathlib import Path
from zoneinfo import available_timezones

import psutil

from twin.starter import Machine


def machine_facts() -> Machine:
    """Host name, GPUs, network interfaces and mount points of this machine, as far as they can be read without rights."""
    interfaces = sorted(
        name for name in psutil.net_if_stats() if name != "lo" and not name.startswith(("veth", "docker", "br-"))
    )
    mounts = sorted({part.mountpoint for part in psutil.disk_partitions(all=False)})
    return Machine(socket.gethostname(), _gpus(), interfaces, mounts, timezone_of(Path("/etc/localtime")))


def timezone_of(local: Path) -> str:
    """IANA name of the time zone that ``local`` (``/etc/localtime``) links to; UTC where it does not say."""
    named = str(local.resolve()).partition("zoneinfo/")[2].removeprefix("posix/")
    named = "UTC" if named in ("Etc/UTC", "Etc/UCT", "UCT") else named
    return named if named in available_timezones() else "UTC"


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
