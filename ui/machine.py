"""What this machine is, for the site that ``icctwin init`` writes and for the demo's own corner."""

import socket

import psutil
import tzlocal

from twin.starter import Machine


def machine_facts() -> Machine:
    """Host name, GPUs, network interfaces and mount points of this machine, as far as they can be read without rights."""
    interfaces = sorted(
        name for _, name in socket.if_nameindex() if name != "lo" and not name.startswith(("veth", "docker", "br-"))
    )
    mounts = sorted({part.mountpoint for part in psutil.disk_partitions(all=False)})
    return Machine(socket.gethostname(), _gpus(), interfaces, mounts)


def zone_name() -> str:
    """The time zone that this machine is set to, by its IANA name; UTC where it has none."""
    try:
        return tzlocal.get_localzone_name() or "UTC"
    except LookupError:
        return "UTC"


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
