"""What each question of the live detectors is called, how sure it must be, and what it says: sentences, actions, costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from analytics.finding import Sort

WATCHED_H = 1.0  # scores count how often an hour a healthy asset would score as high


@dataclass(frozen=True, slots=True)
class Question:
    """One question. ``kind``, ``metric``: what it is asked of; ``limit``, ``clear``: strengths between which it is undecided;
    ``hold_s``: how long the evidence must last; ``lead_s``: how long before harm it usually comes (NaN: harm is there)."""

    name: str
    sort: Sort
    kind: str
    metric: str
    limit: float
    clear: float
    hold_s: float
    lead_s: float
    summary: str
    evidence: str
    action: str
    cost_wrong: str


_NAN = float("nan")
_DRIFT = "Check the sensor against a second instrument; correct or replace it"
_DRIFT_COST = "A look at a good sensor: half an hour of one person"
_QUESTIONS = (
    Question(
        "rack_supply",
        Sort.DATA,
        "rack",
        "supply_temp_c",
        7,
        3,
        240,
        _NAN,
        "{asset}: supply temperature has left its neighbours; its sensor drifts or is wrong",
        "{strength:.1f} spreads from the racks on the same CDU",
        _DRIFT,
        _DRIFT_COST,
    ),
    Question(
        "rack_flow",
        Sort.DATA,
        "rack",
        "flow_kgps",
        7,
        3,
        240,
        _NAN,
        "{asset}: flow has left its neighbours; its meter drifts, or the manifold clogs or leaks",
        "{strength:.1f} spreads from the racks on the same CDU",
        "Check valve, strainer and meter of the rack",
        _DRIFT_COST,
    ),
    Question(
        "rack_power",
        Sort.DATA,
        "rack",
        "power_w",
        7,
        3,
        240,
        _NAN,
        "{asset}: power no longer fits the sum of its nodes; its meter drifts or is wrong",
        "{strength:.1f} spreads from the sum of its nodes",
        _DRIFT,
        _DRIFT_COST,
    ),
    Question(
        "rack_return",
        Sort.DATA,
        "rack",
        "return_temp_c",
        7,
        3,
        300,
        _NAN,
        "{asset}: return temperature no longer fits power and flow; its sensor drifts or is wrong",
        "{strength:.1f} spreads from the rise that power and flow ask for",
        _DRIFT,
        _DRIFT_COST,
    ),
    Question(
        "sensor_stuck",
        Sort.DATA,
        "rack",
        "",
        12,
        3,
        0,
        _NAN,
        "{asset}: {metric} repeats one value; its sensor is stuck",
        "An honest sensor would repeat itself so once in 10^{strength:.0f} times",
        "Restart or replace the sensor",
        _DRIFT_COST,
    ),
    Question(
        "pump_wear",
        Sort.FAILURE,
        "pump",
        "diff_pressure_pa",
        7,
        3,
        120,
        900.0,
        "{asset} gives less head than its speed asks for: wear, cavitation or a leak inside",
        "Head over speed squared is {strength:.1f} spreads from its own past",
        "Start the standby pump and inspect this one",
        "A change-over and an inspection: one hour of one person",
    ),
    Question(
        "pump_stopped",
        Sort.FAILURE,
        "pump",
        "power_w",
        1,
        0.5,
        20,
        _NAN,
        "{asset} has stopped while it was on duty",
        "Its power fell to nothing and its unit did not ask for that",
        "See that the standby pump runs; replace the drive or the pump",
        "A walk to a pump that was switched over on purpose",
    ),
    Question(
        "fouling",
        Sort.FAILURE,
        "cdu",
        "heat_w",
        5,
        2.5,
        240,
        1800.0,
        "{asset} passes less heat on for the same temperatures: its heat exchanger clogs",
        "Heat transfer is {strength:.1f} spreads below its own past",
        "Clean strainer and exchanger at the next window",
        "A cleaning too early: half a day of one person",
    ),
    Question(
        "leak",
        Sort.FAILURE,
        "",
        "leak_flag",
        1,
        0.5,
        0,
        _NAN,
        "{asset} leaks",
        "Its leak detector has tripped",
        "Close the valves of the rack, drain the nodes and look",
        "A rack idle for an hour",
    ),
    Question(
        "straggler",
        Sort.STRAGGLER,
        "gpu",
        "sm_clock_hz",
        7,
        3,
        60,
        _NAN,
        "{asset} holds up its job: it is slower than the GPUs it works with",
        "Its clock is {strength:.0f} % below the median of its job",
        "Move the job off the node and check cooling and power",
        "A restart of the job from its last checkpoint",
    ),
    Question(
        "gpu_hot",
        Sort.ANOMALY,
        "gpu",
        "temp_c",
        10,
        5,
        300,
        3600.0,
        "{asset} is hotter than its neighbours for its power: its cold plate is loose or clogged",
        "Thermal resistance is {strength:.1f} spreads from its own past beside its rack's",
        "Reseat or flush the cold plate",
        "A node out of service for two hours",
    ),
    Question(
        "gpu_hazard",
        Sort.FAILURE,
        "gpu",
        "xid_code",
        0.05,
        0.02,
        0,
        86400.0,
        "{asset} is likely to fail: {reason}",
        "Hazard of {percent:.0f} % within a week; before any evidence 0.2 %",
        "",
        "A healthy GPU drained and tested: two hours of one node",
    ),
    Question(
        "gpu_lost",
        Sort.FAILURE,
        "gpu",
        "xid_code",
        1,
        0.5,
        0,
        _NAN,
        "{asset} has fallen off the bus",
        "XID 79 and silence",
        "Drain the node, power-cycle it, replace the GPU if it repeats",
        "A node out of service for an hour",
    ),
    Question(
        "link_flap",
        Sort.FAILURE,
        "port",
        "link_down_count",
        1.5,
        0.5,
        0,
        3600.0,
        "{asset} flaps",
        "Down {strength:.0f} times within minutes",
        "Clean or replace the cable or the transceiver",
        "A cable changed that was good",
    ),
    Question(
        "link_errors",
        Sort.FAILURE,
        "port",
        "error_count",
        100,
        20,
        0,
        21600.0,
        "{asset}: errors grow",
        "{strength:.0f} errors within minutes",
        "Clean or replace the cable or the transceiver",
        "A cable changed that was good",
    ),
    Question(
        "node_down",
        Sort.FAILURE,
        "node",
        "up_flag",
        1,
        0.5,
        10,
        _NAN,
        "{asset} is down",
        "It does not answer",
        "Power-cycle it by its controller; drain it until it is well",
        "None: it does no work",
    ),
    Question(
        "source_silent",
        Sort.DATA,
        "source",
        "up_flag",
        1,
        0.5,
        20,
        _NAN,
        "source {asset} is silent: what it reads is not known",
        "Its polls fail",
        "Check the endpoint and the way to it",
        "A look at a log",
    ),
)
QUESTIONS: Mapping[str, Question] = MappingProxyType({question.name: question for question in _QUESTIONS})
HAZARD_ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "watch": "Look at the job's own log first; if it follows the GPU to another job, run diagnostics",
        "drain": "Drain the node after this job and run diagnostics",
        "reset": "Drain the node and reset the GPU; twice in a week means diagnostics",
        "inspect": "Drain the node and check its NVLink bridges and switches",
        "replace": "Drain the node and replace the GPU",
    }
)
