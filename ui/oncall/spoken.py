"""What the log of alerts and incidents says, in the reader's language. Records keep a sentence as its template and its numbers;
those that were written before did not, and are shown as they stand."""

import math
from collections.abc import Mapping
from typing import Any

from analytics.oncall.desk import Group
from analytics.oncall.keep import plain
from twin.message import Message, verbatim
from ui.words import Words


def kept(summary: Message) -> dict[str, object]:
    """A sentence as faces translate it; JSON has no NaN, so a number that is not known is null."""
    return {"text": summary.text, "params": plain(summary.params)}


def lead(group: Group) -> Message:
    """The sentence that stands for a group: that of the alert which leads it, while it is shown."""
    found = (signal.summary for signal in group.shown.values() if str(signal.summary) == group.summary)
    return next(found, verbatim(group.summary))


def sentence(record: Mapping[str, Any], words: Words) -> str:
    """What a record of the log says happened."""
    spoken = record.get("said")
    if isinstance(spoken, Mapping):
        params = {name: math.nan if value is None else value for name, value in spoken["params"].items()}
        text = str(spoken["text"])
        return words.sentence(Message(text, params))
    rule = f"{record.get('rule') or ''} ×{record['count']}" if record.get("count") else str(record.get("rule") or "")
    return str(record.get("summary") or rule)


def phase(record: Mapping[str, Any], words: Words) -> str:
    """Whether it began, was taken or ended, and by whom."""
    who = f" {record['by']}" if record.get("by") else ""
    return words(str(record.get("phase") or record.get("what") or "")) + who


def about(record: Mapping[str, Any]) -> str:
    """The asset that a record is about; of an incident the first, and how many more."""
    assets = record.get("assets") or []
    if record.get("asset") or not assets:
        return str(record.get("asset") or "–")
    return f"{assets[0]} +{len(assets) - 1}" if len(assets) > 1 else str(assets[0])
