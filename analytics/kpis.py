"""KPIs of an AI computing centre, each with the field's definition and its source; energy's own (PUE, carbon) are
``energy.account``.

Pure functions of columns. A figure that was not measured is NaN and says over how much it was taken; nothing is extrapolated.
``DEFINITIONS`` says in a sentence what each figure is and who defined it, for faces to show beside the number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.special import gammaincinv

from twin.frame import Floats, Ints
from twin.site import Bools

NOTHING = float("nan")
SIZE_CLASSES = (1, 8, 64, 512, 4096)  # GPUs: a device, a node, and each a factor of eight; the last has no upper end
MAX_TASK_KINDS = 256  # of the mix that fragmentation is taken over: the most frequent sizes

DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "gpu_util_frac": "mean over GPUs and time of the share of time with at least one kernel resident"
        " (NVML utilization.gpu, DCGM_FI_DEV_GPU_UTIL): busy, not how busy",
        "sm_active_frac": "mean share of SM cycles with at least one warp (DCGM_FI_PROF_SM_ACTIVE)",
        "tensor_mfu_frac": "share of cycles with an active tensor pipe (DCGM_FI_PROF_PIPE_TENSOR_ACTIVE): an upper bound of MFU"
        " where the framework reports no tokens",
        "ettr_frac": "effective training time ratio: productive runtime over available wall time of a job, without what is"
        " replayed since the last checkpoint and without restarts (Kokolis et al. 2025, arXiv 2410.21680)",
        "goodput_frac": "scheduling x runtime x program goodput (Google Cloud, ML Productivity Goodput, 2024)",
        "mtbf_gpu_h": "GPU-hours in service per failure, with the exact Poisson interval (Garwood 1936)",
        "mtti_gpu_h": "GPU-hours that jobs held per interruption of one, with the exact 90% Poisson interval (Garwood 1936)",
        "queue_wait_s": "time from submission to start of jobs that started: median and 95th percentile, by size class and"
        " weighted by the GPU-hours asked for (of a job without a limit: as long as the others ask for on average)",
        "fragmentation_frac": "share of idle GPUs that a task drawn from the observed mix cannot use (FGD: Weng et al. 2023),"
        " of nodes that are neither drained nor down",
        "tokens_per_s": "tokens over the window's seconds",
        "utilisation_frac": "算力利用率: GPU-hours allocated to jobs over GPU-hours in service (as CAICT uses the word; how"
        " much of the time GPUs were busy is another figure)",
        "rack_fill_frac": "上架率: racks in use over racks built (MIIT 2021, three-year plan for new data centres)",
        "effective_flops": "有效算力: peak FLOP/s of the GPUs in service times availability times MFU, named with whose MFU",
        "availability_frac": "可用性: GPU-hours able to work over GPU-hours installed (steady state: MTBF over MTBF plus MTTR);"
        " able: heard of, not called unhealthy by its driver, its node neither drained nor down for the scheduler",
    }
)


@dataclass(frozen=True, slots=True)
class Rate:
    """A count over an exposure: exposure per event with its interval, in the unit of the exposure. ``low`` and ``high`` hold
    the truth with the confidence asked for; with no event ``value`` and ``high`` are infinite and ``low`` still says
    something."""

    value: float
    low: float
    high: float
    events: int


def exposure_per_event(exposure_h: float, events: int, confidence_frac: float = 0.9) -> Rate:
    """Hours (of GPUs, nodes, jobs) per event; exact Poisson interval: F. Garwood, Biometrika 28 (1936) 437."""
    if exposure_h < 0 or events < 0 or not 0 < confidence_frac < 1:
        raise ValueError(
            f"{events} events in {exposure_h} h at {confidence_frac}: pass counts and hours from 0, confidence in 0-1"
        )
    tail = (1 - confidence_frac) / 2
    most = float(gammaincinv(events + 1, 1 - tail))  # half the quantile of chi-squared with 2 events + 2 degrees
    least = float(gammaincinv(events, tail)) if events else 0.0
    infinite = float("inf")
    return Rate(
        exposure_h / events if events else infinite, exposure_h / most, exposure_h / least if least else infinite, events
    )


def known_mean(values: Floats, weight: Floats | None = None) -> tuple[float, float]:
    """(mean, share known) of float64 of any shape; ``weight`` broadcasts over it, GPU-seconds say."""
    weights = np.broadcast_to(np.ones(()) if weight is None else weight, values.shape)
    known = np.isfinite(values)
    total, seen = float(weights.sum()), float(weights[known].sum())
    if seen <= 0:
        return NOTHING, 0.0
    return float((values[known] * weights[known]).sum() / seen), seen / total


def ettr_frac(productive_s: Floats, available_s: Floats, gpus: Ints) -> float:
    """Effective training time ratio over runs, weighted by their GPU time: float64[n] productive and available wall time."""
    known = np.isfinite(productive_s) & np.isfinite(available_s) & (available_s > 0)
    weight = gpus[known] * available_s[known]
    if not weight.sum() > 0:
        return NOTHING
    if (productive_s[known] > available_s[known] * (1 + 1e-9)).any():
        raise ValueError("a run was productive for longer than it lasted; give both in seconds of wall time")
    return float((gpus[known] * productive_s[known]).sum() / weight.sum())


def goodput_frac(scheduling_frac: float, runtime_frac: float, program_frac: float) -> float:
    """ML productivity goodput: GPUs allocated over GPUs there are, productive over allocated time, MFU over its ideal."""
    return scheduling_frac * runtime_frac * program_frac


@dataclass(frozen=True, slots=True)
class Wait:
    """Queue wait of the jobs of ``[least, most]`` GPUs (``most`` 0: no upper end)."""

    least: int
    most: int
    jobs: int
    p50_s: float
    p95_s: float
    gpu_weighted_mean_s: float


def queue_waits(wait_s: Floats, gpus: Ints, limit_s: Floats) -> list[Wait]:
    """Waits by size class, then of all. ``wait_s``: float64[n] from submission to start, NaN of who has not started: those
    would bias a mean down, and are ``queue.waiting_count``; ``gpus``: int32[n] held; ``limit_s``: float64[n] asked for, NaN or
    0 where there is no limit."""
    started = np.isfinite(wait_s) & (wait_s >= 0) & (gpus > 0)
    ends = [*(low - 1 for low in SIZE_CLASSES[1:]), 0]
    classes = [*zip(SIZE_CLASSES, ends, strict=True), (1, 0)]
    takes = [started & (gpus >= a) & ((gpus <= b) | (b == 0)) for a, b in classes]
    return [_wait(wait_s[take], gpus[take], limit_s[take], *sizes) for take, sizes in zip(takes, classes, strict=True)]


def _wait(mine: Floats, gpus: Ints, limit_s: Floats, least: int, most: int) -> Wait:
    if not len(mine):
        return Wait(least, most, 0, NOTHING, NOTHING, NOTHING)
    told = np.isfinite(limit_s) & (limit_s > 0)
    usual_s = float(limit_s[told].mean()) if told.any() else 1.0
    asked = np.where(told, limit_s, usual_s) * gpus
    p50, p95 = np.percentile(mine, [50, 95])
    return Wait(least, most, len(mine), float(p50), float(p95), float((mine * asked).sum() / asked.sum()))


def fragmentation_frac(idle_gpus: Ints, sizes: Ints, node_gpus: int) -> float:
    """Share of idle GPUs that the next task cannot use, expected over the mix of tasks (FGD, ATC 2023, for whole GPUs).

    ``idle_gpus``: int32[nodes]; ``sizes``: int32[jobs], GPUs that observed jobs asked for, the mix; ``node_gpus``: GPUs of a
    node. A task larger than a node asks for whole nodes, as gangs are placed. 0 with nothing idle, NaN with no mix."""
    total = int(idle_gpus.sum())
    asked = sizes[sizes > 0]
    if not len(asked):
        return NOTHING
    if total == 0:
        return 0.0
    kinds, count = np.unique(np.minimum(asked, node_gpus), return_counts=True)
    most = np.argsort(count)[-MAX_TASK_KINDS:]
    kinds, count = kinds[most], count[most]
    stranded = np.array([int(idle_gpus[idle_gpus < kind].sum()) for kind in kinds])
    return float((stranded * count).sum() / (count.sum() * total))


def utilisation_frac(held_from_s: Floats, held_to_s: Floats, held: Ints, gpus: int, start_s: float, end_s: float) -> float:
    """GPU time that runs held in ``[start_s, end_s)`` over the GPU time there was: run i held ``held`` GPUs (int32[n]) from
    ``held_from_s`` to ``held_to_s`` (float64[n], infinite while it goes on)."""
    if not (gpus > 0 and end_s > start_s):
        return NOTHING
    held_s = np.clip(np.minimum(held_to_s, end_s) - np.maximum(held_from_s, start_s), 0, None)
    return float((held_s * held).sum() / (gpus * (end_s - start_s)))


def able_frac(heard: Bools, unhealthy: Floats, usable: Floats) -> Floats:
    """float64[t, gpus]: share of each step in which a GPU could work, NaN where it was not heard of. ``heard``: bool[t, gpus];
    ``unhealthy``: share of the step in which its driver called it so; ``usable``: in which the scheduler gave its node work, by
    float64[t, gpus] each. Where one of them was not said (NaN) nothing speaks against it."""
    able = np.minimum(1.0 - np.nan_to_num(unhealthy), np.where(np.isnan(usable), 1.0, usable))
    return np.where(heard, able, np.nan)


def availability_frac(able: Floats) -> float:
    """Share of GPU time able to work: ``able`` is float64[t, gpus], 1 able, 0 not, NaN unheard of. Silence is not health: what
    was not heard counts as not able."""
    return float(np.nan_to_num(able, nan=0.0).mean()) if able.size else NOTHING


def rack_fill_frac(used_racks: int, built_racks: int) -> float:
    """Racks in use over racks built."""
    return used_racks / built_racks if built_racks > 0 else NOTHING


def effective_flops(peak_flops: float, gpus: int, available_frac: float, mfu: float) -> float:
    """FLOP/s that the centre gives to models: peak times availability times MFU."""
    return peak_flops * gpus * available_frac * mfu
