"""Reads the NVIDIA GPUs of this machine through NVML (``nvidia-ml-py``). Blocks for milliseconds: call it from a thread."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pynvml

RETRY_READS = 60  # without driver or library, it is looked for again after so many readings
MAX_GPUS = 64  # of one machine


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as its driver knows it; ``values``: metric of kind ``gpu`` -> value, only those that it could tell."""

    index: int
    uuid: str
    values: Mapping[str, float]


class Nvml:
    """The driver's library, opened at the first reading. ``library`` has the functions of module ``pynvml``."""

    def __init__(self, library: Any = pynvml) -> None:
        self._lib = library
        self._open = False
        self._wait = 0
        self._readings = _readings(library)

    def read(self) -> list[Gpu]:
        """All GPUs; none where there is no driver. What a GPU cannot tell (or all of one that is lost) is left out."""
        if not self._open and not self._start():
            return []
        try:
            n = min(self._lib.nvmlDeviceGetCount(), MAX_GPUS)
        except self._lib.NVMLError:  # the driver was unloaded or replaced under us: begin anew
            self.close()
            return []
        return [gpu for gpu in map(self._gpu, range(n)) if gpu is not None]

    def close(self) -> None:
        """Let go of the library."""
        if self._open:
            self._open = False
            try:
                self._lib.nvmlShutdown()
            except self._lib.NVMLError_Uninitialized:
                return

    def _start(self) -> bool:
        if self._wait > 0:
            self._wait -= 1
            return False
        try:
            self._lib.nvmlInit()
        except self._lib.NVMLError:
            self._wait = RETRY_READS
            return False
        self._open = True
        return True

    def _gpu(self, index: int) -> Gpu | None:
        try:
            handle = self._lib.nvmlDeviceGetHandleByIndex(index)
            uuid = self._lib.nvmlDeviceGetUUID(handle)
        except self._lib.NVMLError:
            return None
        values: dict[str, float] = {}
        for read in self._readings:
            try:
                values.update(read(handle))
            except self._lib.NVMLError:
                continue  # this board or driver does not have it
        return Gpu(index, uuid if isinstance(uuid, str) else uuid.decode(), values)


def _readings(lib: Any) -> tuple[Callable[[Any], dict[str, float]], ...]:
    """One function a call of the library, in its units (mW, mJ, percent, MHz) -> ours."""

    def util(handle: Any) -> dict[str, float]:
        rates = lib.nvmlDeviceGetUtilizationRates(handle)
        return {"util_frac": rates.gpu / 100, "mem_copy_util_frac": rates.memory / 100}

    def memory(handle: Any) -> dict[str, float]:
        info = lib.nvmlDeviceGetMemoryInfo(handle)
        return {"mem_used_bytes": float(info.used), "mem_free_bytes": float(info.free)}

    def memory_temperature(handle: Any) -> dict[str, float]:
        (field,) = lib.nvmlDeviceGetFieldValues(handle, [lib.NVML_FI_DEV_MEMORY_TEMP])
        return {"mem_temp_c": float(field.value.uiVal)} if field.nvmlReturn == lib.NVML_SUCCESS else {}

    def reasons(handle: Any) -> dict[str, float]:
        try:
            return {"throttle_code": float(lib.nvmlDeviceGetCurrentClocksEventReasons(handle))}
        except lib.NVMLError_FunctionNotFound:  # drivers before 535
            return {"throttle_code": float(lib.nvmlDeviceGetCurrentClocksThrottleReasons(handle))}

    def corrected(handle: Any) -> dict[str, float]:
        kind = lib.NVML_MEMORY_ERROR_TYPE_CORRECTED
        return {"ecc_corrected_count": float(lib.nvmlDeviceGetTotalEccErrors(handle, kind, lib.NVML_VOLATILE_ECC))}

    def uncorrected(handle: Any) -> dict[str, float]:
        kind = lib.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
        return {"ecc_uncorrected_count": float(lib.nvmlDeviceGetTotalEccErrors(handle, kind, lib.NVML_VOLATILE_ECC))}

    def remapped(handle: Any) -> dict[str, float]:
        _, rows, _, failure = lib.nvmlDeviceGetRemappedRows(handle)
        return {"remapped_rows_count": float(rows), "row_remap_failure_flag": float(failure)}

    return (
        lambda handle: {"power_w": lib.nvmlDeviceGetPowerUsage(handle) / 1e3},
        lambda handle: {"power_cap_w": lib.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3},
        lambda handle: {"energy_j": lib.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3},
        lambda handle: {"temp_c": float(lib.nvmlDeviceGetTemperature(handle, lib.NVML_TEMPERATURE_GPU))},
        lambda handle: {"sm_clock_hz": lib.nvmlDeviceGetClockInfo(handle, lib.NVML_CLOCK_SM) * 1e6},
        lambda handle: {"mem_clock_hz": lib.nvmlDeviceGetClockInfo(handle, lib.NVML_CLOCK_MEM) * 1e6},
        lambda handle: {"pcie_replay_count": float(lib.nvmlDeviceGetPcieReplayCounter(handle))},
        util,
        memory,
        memory_temperature,
        reasons,
        corrected,
        uncorrected,
        remapped,
    )
