"""Records of Slurm's API, in the shapes of v0.0.36 to v0.0.44, as records of ours."""

import math
import re
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ingest.queues.mark import mark_of, noted, owners_words
from ingest.queues.tables import JobRecord, NodeRecord, Reservation, numbers_in
from twin.job import JobState, NodeState
from twin.order import Tie

MAX_HOSTS = 100_000
# what ``slurm_siblings`` adds to a record of a federation: its clusters are not ours to choose; the copy in the cluster that it
# was sent to has not heard of the last change; that cluster has not taken it
STAYS, LAGS, NO_SIBLING = "stays", "lags", "NoSibling"
_STATES = {
    "PENDING": JobState.PENDING, "REQUEUED": JobState.PENDING, "REQUEUE_HOLD": JobState.PENDING, "REQUEUE_FED":
    JobState.PENDING, "SPECIAL_EXIT": JobState.PENDING, "RESV_DEL_HOLD": JobState.PENDING, "RUNNING": JobState.RUNNING,
    "CONFIGURING": JobState.RUNNING, "COMPLETING": JobState.RUNNING, "STAGE_OUT": JobState.RUNNING, "SIGNALING":
    JobState.RUNNING, "RESIZING": JobState.RUNNING, "SUSPENDED": JobState.SUSPENDED, "STOPPED": JobState.SUSPENDED,
    "COMPLETED": JobState.COMPLETED, "FAILED": JobState.FAILED, "NODE_FAIL": JobState.FAILED, "TIMEOUT": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED, "BOOT_FAIL": JobState.FAILED, "DEADLINE": JobState.FAILED, "LAUNCH_FAILED":
    JobState.FAILED, "RECONFIG_FAIL": JobState.FAILED, "CANCELLED": JobState.CANCELLED, "PREEMPTED": JobState.CANCELLED,
    "REVOKED": JobState.CANCELLED,
}  # fmt: skip
_DOWN = {"DOWN", "FAIL", "FAILING", "ERROR", "NOT_RESPONDING", "NO_RESPOND", "UNKNOWN", "FUTURE",
         "INVALID_REG", "INVALID"}  # fmt: skip
_DRAIN = {"DRAIN", "DRAINED", "DRAINING", "MAINTENANCE", "MAINT", "REBOOT_REQUESTED", "REBOOT_ISSUED"}
_UNFIT = {"PartitionNodeLimit", "PartitionTimeLimit", "PartitionDown", "PartitionInactive", "PartitionConfig", "BadConstraints",
          "InvalidAccount", "InvalidQOS", "AccountNotAllowed", "QOSNotAllowed", NO_SIBLING}  # fmt: skip
_GPU_COUNT = re.compile(r"(?:^|,)(?:gres[:/])?gpu(?:[:/][^=:,()]*[^=:,()\d][^=:,()]*)?[=:](\d+)")
_HELD = re.compile(r"gpu(?::[^:,()]+)?:(\d+)\(IDX:([\d,-]+)\)")
_TASKS_AT_ONCE = re.compile(r"%\d+$")
_HOSTS = re.compile(r"((?:[^,\[]|\[[^\]]*\])+)(?:,|$)")


class Deferring(Protocol):
    """The options that say which jobs may wait."""

    @property
    def deferrable_partitions(self) -> Sequence[str]:
        """All jobs of these."""
        ...

    @property
    def deferrable_qos(self) -> Sequence[str]:
        """All jobs of these."""
        ...

    @property
    def deferrable_accounts(self) -> Sequence[str]:
        """All jobs of these."""
        ...

    @property
    def deferrable_comment(self) -> str:
        """All jobs whose comment has this word."""
        ...


def number(said: Any) -> float:
    """A number, plain or wrapped; NaN where it is none, not set or infinite."""
    if isinstance(said, dict):
        said = said.get("number") if said.get("set") and not said.get("infinite") else None
    return float(said) if isinstance(said, int | float) and not isinstance(said, bool) else math.nan


def time_s(said: Any) -> float:
    """A time; NaN for 0, which Slurm says for "none"."""
    value = number(said)
    return value if value > 0 else math.nan


def words(said: Any) -> list[str]:
    """States: one word, or a list of them."""
    return [said.upper()] if isinstance(said, str) else [str(word).upper() for word in said or ()]


def gpus_in(text: Any) -> int:
    """GPUs in a string of trackable resources: the total where it is given beside its parts by type."""
    found = [int(count) for count in _GPU_COUNT.findall(str(text or ""))]
    plain = re.search(r"(?:^|,)(?:gres[:/])?gpu[=:](\d+)(?:\(|,|$)", str(text or ""))
    return int(plain[1]) if plain else sum(found)


def state_of(job: Any) -> JobState:
    """The state of one job of ``jobs``."""
    return next((_STATES[word] for word in words(job["job_state"]) if word in _STATES), JobState.PENDING)


def job_record(job: Any, options: Deferring) -> JobRecord:
    """One job of ``jobs``. A waiting array is one record with the GPUs of all its tasks."""
    state = state_of(job)
    tasks = _waiting_tasks(job)
    details = job.get("gres_detail") or ()
    held = _held(job, details) if state in (JobState.RUNNING, JobState.SUSPENDED) else []
    gpus = sum(gpus_in(detail) for detail in details) or gpus_in(job.get("tres_alloc_str")) or _asked(job) * tasks
    comment = comment_of(job)
    submit_s = time_s(job.get("submit_time"))
    # a requeue, also one of a node that failed, counts as a submission: what is meant from the first one on is not known
    mark = mark_of(comment, math.nan if number(job.get("restart_cnt")) > 0 else submit_s)
    limit_min = number(job.get("time_limit"))
    return JobRecord(
        id=id_of(job),
        name=str(job.get("name") or ""),
        user=str(job.get("user_name") or job.get("user_id") or ""),
        partition=str(job.get("partition") or ""),
        state=state,
        gpus=gpus,
        submit_s=submit_s,
        start_s=time_s(job.get("start_time")),
        end_s=time_s(job.get("end_time")),
        limit_s=60 * limit_min if limit_min > 0 else math.nan,
        deadline_s=float(np.fmin(time_s(job.get("deadline")), mark.deadline_s)),
        deferrable=not (mark.off or mark.wrong) and (mark.agreed or _agreed_for(job, comment, options)),
        held=held,
        begin_s=time_s(job.get("eligible_time")) if state == JobState.PENDING else math.nan,
        stopped=state == JobState.PENDING and is_held(job),
        interruptible=mark.interruptible,
        noted=noted(comment),
        project=str(job.get("account") or ""),
        runs_s=mark.runs_s,
        reach_s=0.0 if _bound(job) else mark.reach_s,
        data_bytes=mark.data_bytes,
        unfit=state == JobState.PENDING and str(job.get("state_reason") or "") in _UNFIT,
        tied=_ties(job),
        unread=bool(mark.wrong),
    )


def id_of(job: Any) -> str:
    """What its owner calls a job: its number, or array and task."""
    array, task = number(job.get("array_job_id")), number(job.get("array_task_id"))
    return f"{array:.0f}_{task:.0f}" if array > 0 and task == task else f"{number(job['job_id']):.0f}"


def _agreed_for(job: Any, comment: str, options: Deferring) -> bool:
    """Whether somebody has agreed for the job: its partition, QOS, account, or a word in its comment."""
    return (
        job.get("partition") in options.deferrable_partitions
        or job.get("qos") in options.deferrable_qos
        or job.get("account") in options.deferrable_accounts
        or (bool(options.deferrable_comment) and options.deferrable_comment in owners_words(comment).split())
    )


def comment_of(job: Any) -> str:
    """What the owner, and we, say at a job."""
    said = job.get("comment")
    return " ".join(str(text) for text in said.values()) if isinstance(said, dict) else str(said or "")


def is_held(job: Any) -> bool:
    """Whether a waiting job is held, by its owner, an operator or its own exit."""
    reason = str(job.get("state_reason") or "")
    return reason.startswith("JobHeld") or bool({"SPECIAL_EXIT", "REQUEUE_HOLD"} & set(words(job["job_state"])))


def _bound(job: Any) -> bool:
    """Whether a job asks for nodes by name, a reservation, clusters, or any of several partitions: it has its place already."""
    several = "," in str(job.get("partition") or "")
    return bool(job.get("required_nodes") or job.get("resv_name") or several or job.get(STAYS))


def _ties(job: Any) -> int:
    """The sum of ``Tie`` that the record of a job tells of; ``slurm_ties`` says who waits for it."""
    few = number(job.get("array_max_tasks")) > 0 or _TASKS_AT_ONCE.search(str(job.get("array_task_string") or ""))
    tied = (Tie.RESERVED, job.get("resv_name")), (Tie.OTHERS, job.get("dependency")), (Tie.FEW, few)
    return sum(tie for tie, is_so in tied if is_so)


def _asked(job: Any) -> int:
    """GPUs that a job asks for, from whichever way it was said."""
    total = gpus_in(job.get("tres_req_str")) or gpus_in(job.get("tres_per_job"))
    if total:
        return total
    nodes, tasks = (int(value) if (value := number(job.get(name))) > 0 else 1 for name in ("node_count", "tasks"))
    return gpus_in(job.get("tres_per_node")) * nodes or gpus_in(job.get("tres_per_task")) * tasks


def _waiting_tasks(job: Any) -> int:
    """Tasks of an array that one record stands for."""
    text = _TASKS_AT_ONCE.sub("", str(job.get("array_task_string") or "")).strip("[]")
    if not text or "..." in text:
        return 1
    try:
        return max(1, len(numbers_in(text)))
    except ValueError:
        return 1


def _held(job: Any, details: Sequence[Any]) -> list[tuple[str, Sequence[int] | None]]:
    """Which GPUs of which nodes: one detail a node, in the order of the nodes."""
    nodes = _allocated(job)
    held: list[tuple[str, Sequence[int] | None]] = []
    for node, detail in zip(nodes, details, strict=False):
        for _, indices in _HELD.findall(str(detail)):
            held.append((node, numbers_in(indices)))
    return held


def _allocated(job: Any) -> list[str]:
    resources = job.get("job_resources") or {}
    nodes = resources.get("allocated_nodes") or ()
    if isinstance(resources.get("nodes"), dict):  # v0.0.41 and newer
        nodes = resources["nodes"].get("allocation") or ()
    found = [str(one.get("nodename") or one.get("name")) for one in nodes if isinstance(one, dict)]
    return found or hosts(str(job.get("nodes") or ""))


def node_record(node: Any) -> NodeRecord:
    """One node of ``nodes``."""
    states = {word.strip("*~#!%$@+^-") for word in (*words(node.get("state")), *words(node.get("state_flags")))}
    if states & _DOWN:
        state = NodeState.DOWN
    elif states & _DRAIN:
        state = NodeState.DRAINED
    elif "ALLOCATED" in states or "ALLOC" in states:
        state = NodeState.ALLOCATED
    elif "MIXED" in states:
        state = NodeState.MIXED
    else:
        state = NodeState.RESERVED if states & {"RESERVED", "PLANNED"} else NodeState.IDLE
    partitions = [str(name) for name in node.get("partitions") or ()]
    return NodeRecord(str(node["name"]), state, gpus_in(node.get("gres")), gpus_in(node.get("gres_used")), partitions)


def partition_of(partition: Any) -> tuple[str, bool]:
    """Name of a partition, and whether it takes and starts jobs."""
    state = partition.get("state")
    if state is None and isinstance(partition.get("partition"), dict):  # v0.0.39 and newer
        state = partition["partition"].get("state")
    return str(partition["name"]), "UP" in words(state)


def reservation_of(one: Any) -> Reservation:
    """One reservation of ``reservations``."""
    nodes = one.get("node_list") or one.get("nodes") or ""
    return Reservation(str(one["name"]), time_s(one.get("start_time")), time_s(one.get("end_time")), hosts(str(nodes)))


def hosts(text: str) -> list[str]:
    """``gpu[01-03,7],login1`` as names, as Slurm writes lists of hosts. ``ValueError`` for over ``MAX_HOSTS``."""
    found: list[str] = []
    for part in _HOSTS.findall(text.strip()):
        names = [""]
        for plain, inside in re.findall(r"([^\[\]]+)|\[([^\]]*)\]", part):
            ends = [plain] if plain else _padded(inside)
            if len(names) * len(ends) > MAX_HOSTS:
                raise ValueError(f"more than {MAX_HOSTS} hosts in one list")
            names = [name + end for name in names for end in ends]
            if len(found) + len(names) > MAX_HOSTS:
                raise ValueError(f"more than {MAX_HOSTS} hosts in one list")
        found += names
    return found


def _padded(inside: str) -> list[str]:
    made: list[str] = []
    for part in inside.split(","):
        low, _, high = part.partition("-")
        width = len(low)
        made += [f"{n:0{width}d}" for n in numbers_in(part if high else low, MAX_HOSTS)]
    return made
