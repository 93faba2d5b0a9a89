"""Model cards: what each detector was fitted and judged on, its figures beside baselines, and where it is known to be weak.

The figures are those of ``icctwin bench detect`` when the card was written; the bench measures them again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Card:
    """One detector. ``chosen_on``: what its settings were chosen on; ``judged_on``: what the figures are from."""

    name: str
    asks: str
    method: str
    data: str
    chosen_on: str
    judged_on: str
    figures: Mapping[str, float]
    baselines: Mapping[str, float]
    weak: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"figures": dict(self.figures), "baselines": dict(self.baselines)}

    def text(self) -> str:
        """As lines for a terminal."""
        lines = [f"{self.name}: {self.asks}", f"  method     {self.method}", f"  data       {self.data}"]
        lines += [f"  chosen on  {self.chosen_on}", f"  judged on  {self.judged_on}"]
        lines += ["  figures    " + ", ".join(f"{k} {v:g}" for k, v in self.figures.items())]
        lines += ["  baselines  " + ", ".join(f"{k} {v:g}" for k, v in self.baselines.items())]
        return "\n".join([*lines, *(f"  weak       {weak}" for weak in self.weak)])


CARDS: tuple[Card, ...] = (
    Card(
        name="shift",
        asks="have several columns together moved away from what they were while all was well?",
        method="multivariate EWMA on columns, axes of the steady ones and restlessness, scaled by their structure function",
        data="SKAB pump loop, valve 1: 16 runs of 19 minutes at 1 s, 8 sensors; and 2.6 fault-free hours",
        chosen_on="all 16 runs, by hand, where a plateau was wide: so the figures are optimistic",
        judged_on="rows after the first 400, from which the limit comes; odd runs: event F1 1.0, even runs: 0.88",
        figures={"vus_pr": 0.928, "event_f1": 0.938, "false_alarms_per_hour": 0.66, "delay_s": 50},
        baselines={"mewma_vus_pr": 0.908, "random_vus_pr": 0.57, "random_event_f1": 0.0, "alarm_always_event_f1": 0.0},
        weak=(
            "with 350 rows to learn from instead of 400 event F1 falls to 0.81",
            "50 s after the label: in 11 of the 16 runs the flow itself leaves its band only 30 to 55 s after it",
            "run 2 is a false alarm and a miss: its water cools by 3 K just after the calibration, 149 s before the fault",
            "columns that follow the load are not combined: a ratio between two such is seen only when each has moved",
        ),
    ),
    Card(
        name="novelty",
        asks="does one series do what it has not done in the last week?",
        method="value, mean over 2 h, median over 1 h and peak over 6 h against quantiles of their own last week",
        data="NAB realAWSCloudwatch: 17 series of two weeks at 5 min, 30 labelled windows",
        chosen_on="all 17 series: nine sets of views that were tried lay between F1 0.72 and 0.81",
        judged_on="rows after 15 %, as NAB does; every second series alone: F1 0.76",
        figures={"event_f1": 0.80, "recall": 0.80, "false_alarms_per_series_week": 0.24, "vus_pr": 0.43},
        baselines={"htm_event_f1": 0.663, "random_cut_forest_event_f1": 0.631, "random_cut_forest_recall": 0.73},
        weak=(
            "what is odd because it is missing (a burst that did not come) is seen late or never",
            "a series with less than a day of past alarms at every new habit",
        ),
    ),
    Card(
        name="disks",
        asks="which disk fails within a month?",
        method="boosted trees, monotone in every SMART count and its growth",
        data="Backblaze 2013-2016 as shared here: 46,762 drives; healthy ST4000DM000 drives are not in it",
        chosen_on="the training years",
        judged_on="2015-10 to 2016-09, trained before 2015-09; limits from that year's healthy drives",
        figures={"found_frac_far_0.001": 0.08, "found_frac_far_0.01": 0.29, "found_frac_far_0.05": 0.41},
        baselines={"rule_far_0.001": 0.10, "rule_far_0.01": 0.26, "rule_far_0.05": 0.41, "random_far_0.05": 0.03},
        weak=(
            "59 % of the failing drives show nothing in these attributes before they fail: they cannot be caught by them",
            "at 0.1 % a rule of five attributes is as good: use it where nobody retrains",
            "most models here do not report SMART 187 and 188, the two attributes that say most",
        ),
    ),
    Card(
        name="cause",
        asks="which asset is behind many signs?",
        method="noisy-OR over feeds, cools, connects and places, greedy, with order in time and expected silence",
        data="seeded faults of 17 kinds on a simulated site of 10,000 GPUs, 40 % two at once, half with a lying sensor",
        chosen_on="100 cases of another seed",
        judged_on="100 cases of a seed never looked at",
        figures={"ac1": 0.9, "ac3": 0.9},
        baselines={"largest_deviation_ac1": 0.07, "nearest_upstream_ac1": 0.5, "nearest_upstream_ac3": 0.55},
        weak=(
            "no recorded incident of a whole centre is public: the cases are made up, by rules that the search does not know",
            "a chiller or tower that says nothing itself looks like its partners",
        ),
    ),
    Card(
        name="live",
        asks="what is wrong in the running centre?",
        method="residuals against siblings, peers, physics and an asset's own past; repeats; counters; GPU hazard by evidence",
        data="the simulated hall with its eleven kinds of fault",
        chosen_on="two seeds of 256 GPUs",
        judged_on="the same faults in the test, and fault-free days of other seeds",
        figures={"kinds_found": 11, "findings_in_a_fault_free_day": 0, "pump_wear_lead_s": 1050},
        baselines={},
        weak=(
            "judged on a simulated plant only: limits will want a look in a real one",
            "the weights of the GPU hazard are graded by hand; the outcome log corrects confidence, not weights",
            "two sensors swapped with each other are seen as two that drift",
        ),
    ),
)
