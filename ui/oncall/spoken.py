"""What the log of alerts and incidents says, in the reader's language. Records keep a sentence as its template and its numbers;
those that were written before did not, and are shown as they stand."""

import math
from collections.abc import Mapping
from typing import Any

from analytics.oncall.desk import Group
from twin.message import Message, verbatim
from ui.words import Words


def kept(summary: Message) -> dict[str, object]:
    """A sentence as faces translate it; as it is where it names a number that is not known, for JSON has no such number."""
    if all(math.isfinite(value) for value in summary.params.values() if isinstance(value, float)):
        return {"text": summary.text, "params": dict(summary.params)}
    return {"text": verbatim(str(summary)).text, "params": {}}


def lead(group: Group) -> Message:
    """The sentence that stands for a group: that of the alert which leads it, while it is shown."""
    found = (signal.summary for signal in group.shown.values() if str(signal.summary) == group.summary)
    return next(found, verbatim(group.summary))


def sentence(record: Mapping[str, Any], words: Words) -> str:
    """What a record of the log says happened."""
    spoken = record.get("said")
    if isinstance(spoken, Mapping):
        template, params = str(spoken["text"]), spoken["params"]
        return words.sentence(Message(template, params))
    rule = f"{record.get('rule') or ''} ×{record['count']}" if record.get("count") else str(record.get("rule") or "")
    return str(record.get("summary") or rule)


def phase(record: Mapping[str, Any], words: Words) -> str:
    """Whether it began, was taken or ended, and by whom."""
    who = f" {record['by']}" if record.get("by") else ""
    return words(str(record.get("phase") or record.get("what") or "")) + who
