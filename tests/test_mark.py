"""What owners say at their jobs: what agrees is read exactly, and whatever else speaks of icctwin is a no."""

import time

import numpy as np
import pytest

from ingest.queues.kubernetes_records import mark_at
from ingest.queues.mark import mark_of, owners_words, with_note
from ingest.queues.slurm import Options
from ingest.queues.slurm_records import job_record


@pytest.mark.parametrize(("comment", "deadline_s", "agreed", "interruptible"), [
    ("icctwin:deadline=2026-12-01T06:00Z;interruptible", 1796104800.0, True, True),
    ("run 7 icctwin:deadline=2026-12-01T06:00 please", 1796104800.0, True, False),
    ("icctwin:deadline=+1.5h;interruptible", 1000 + 5400.0, True, False), ("icctwin:on", np.nan, True, False),
    ("icctwin:off;deadline=+1h", np.nan, False, False), ("icctwin:deadline=soon", np.nan, False, False),
    ("notmine/icctwin:on", np.nan, False, False), ("icctwin:on;fast", np.nan, False, False),
    ("icctwin:on;runs=2h", np.nan, True, False), ("icctwin:on;runs=long", np.nan, False, False),
    ("mine [icctwin: waits; icctwin:on]", np.nan, False, False),
    ("icctwin:on; deadline=+1h ;runs=2h", 1000 + 3600.0, True, False), ("icctwin:on icctwin:deadline=+1h", 4600.0, True, False),
    ("icctwin:on ;off", np.nan, False, False), ("icctwin:deadline=+8h icctwin:deadline=+9h", np.nan, False, False),
    ("icctwin:deadline=+8h;interruptible=false", np.nan, False, False), ("icctwin:on=false", np.nan, False, False),
])  # fmt: skip
def test_what_a_comment_agrees_to(comment, deadline_s, agreed, interruptible):
    mark = mark_of(comment, 1000.0)
    assert (mark.agreed, mark.interruptible) == (agreed, interruptible)
    assert mark.deadline_s == pytest.approx(deadline_s, nan_ok=True)
    once = with_note(comment, "until [02:00]")
    assert with_note(once, "until [02:00]") == once
    assert owners_words(once).strip() == owners_words(comment).strip()
    assert with_note(once, "") == owners_words(comment)


@pytest.mark.parametrize("comment", [
    "icctwin:off", "icctwin:deadline=+8h icctwin:off", "icctwin: off", "proj=x,icctwin:off", "ICCTWIN:OFF", "icctwin=off",
    "icctwin:;", "icctwin:off.", "no icctwin please", "icctwin:on [icctwin: waits] not-icctwin", "icctwin:on;off=true",
])  # fmt: skip
def test_whatever_an_owner_says_of_icctwin_that_cannot_be_read_is_a_no_also_where_a_partition_agrees(comment):
    options = Options(queue="slurm", commands=True, deferrable_partitions=("batch",))
    job = {"job_id": 7, "job_state": "PENDING", "partition": "batch", "submit_time": 1000}
    agreed, told = (job_record({**job, "comment": said}, options) for said in ("run 7 [icctwin: waits]", comment))
    assert (agreed.deferrable, agreed.unread, told.deferrable) == (True, False, False)
    assert told.unread == ("icctwin:off" not in comment.split()), "what can be read is a plain no"


def test_a_deadline_from_submission_on_is_not_known_after_a_requeue_which_counts_as_one():
    options = Options(queue="slurm", commands=True)
    job = {"job_id": 7, "job_state": "PENDING", "submit_time": 1000, "comment": "icctwin:deadline=+8h"}
    first, again = (job_record({**job, "restart_cnt": count}, options) for count in (0, 1))
    assert (first.deferrable, first.deadline_s, again.deferrable) == (True, 1000 + 8 * 3600, False)
    timed = job_record({**job, "restart_cnt": 1, "comment": "icctwin:deadline=1970-01-01T09:00"}, options)
    assert (timed.deferrable, timed.deadline_s) == (True, 9 * 3600)


def labelled(annotations, labels=()):
    meta = {"creationTimestamp": "1970-01-01T01:00:00Z", "annotations": annotations, "labels": dict(labels)}
    return mark_at(meta)


@pytest.mark.parametrize(("said", "deadline_s", "runs_s", "interruptible"), [
    ({}, np.nan, np.nan, False), ({"runs": "2h", "interruptible": "false"}, np.nan, 7200.0, False),
    ({"deadline": "+8h"}, 9 * 3600.0, np.nan, False), ({"deadline": "1970-01-02T06:00"}, 30 * 3600.0, np.nan, False),
    ({"deadline": "1970-01-02T06:00+02:00", "interruptible": "true"}, 28 * 3600.0, np.nan, True),
])  # fmt: skip
def test_a_job_of_kubernetes_says_the_same_in_its_annotations_wherever_the_computer_stands(
    said, deadline_s, runs_s, interruptible, monkeypatch
):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    mark = labelled({"icctwin/deferrable": "true", **{f"icctwin/{name}": value for name, value in said.items()}})
    monkeypatch.undo()
    time.tzset()
    assert (mark.agreed, mark.interruptible) == (True, interruptible)
    assert [mark.deadline_s, mark.runs_s] == pytest.approx([deadline_s, runs_s], nan_ok=True)


@pytest.mark.parametrize("said", [
    {"icctwin/deadline": "2026-13-01T06:00Z"}, {"icctwin/deadline": "tomorrow 6am"}, {"icctwin/deadline": ""},
    {"icctwin/runs": "2 hours"}, {"icctwin/dedline": "+8h"}, {"icctwin/interruptible": "maybe"}, {"icctwin/off": "true"},
    {"icctwin/deferrable": "false"}, {"icctwin/deferrable": "no"}, {"ICCTWIN.io/deferrable": "false"}, {"icctwin": "off"},
])  # fmt: skip
def test_what_cannot_be_read_at_a_job_of_kubernetes_is_a_no_though_a_label_agrees(said):
    agreed = {"icctwin/deferrable": "true"}
    assert labelled(agreed, agreed).agreed
    assert labelled({"icctwin/note": "waits", "icctwin/begin": "7", "icctwin/user": "li"}, agreed).agreed
    assert not labelled(said, agreed).agreed
    assert bool(labelled(said, agreed).wrong) == (said != {"icctwin/deferrable": "false"}), "what can be read is a plain no"
    assert not labelled({"icctwin/deadline": "+8h"}).agreed, "a deadline alone is no consent"
    assert not labelled({"icctwin/interruptible": "false"}, {**agreed, "icctwin/interruptible": "true"}).agreed
