"""What chat robots have in common: they answer 200 with an error code of their own inside."""

import json
from collections.abc import Collection, Mapping

from ui.faces.notify.post import Answer, Undelivered
from ui.faces.notify.said import Said, cut

BUSY_S = 60.0  # a robot that says that it was too fast is left alone for so long


def taken(
    answer: Answer,
    code_name: str,
    says_name: str,
    busy: Collection[int],
    refused: Collection[int],
    busy_s: float = BUSY_S,
) -> None:
    """``Undelivered`` where the robot's answer has another code than 0. ``busy``: codes of sending too fast; ``refused``: codes
    that the same again would bring again; ``busy_s``: how long a robot that was too fast is left alone."""
    try:
        table = json.loads(answer.body)
    except ValueError:
        raise Undelivered(f"the robot's answer is no JSON: {answer.shown(answer.body.decode('utf-8', 'replace'))!r}") from None
    code = table.get(code_name, 0) if isinstance(table, Mapping) else None
    if code == 0:
        return
    said = answer.shown(str(table.get(says_name, ""))) if isinstance(table, Mapping) else ""
    why = f"the robot refused it ({code_name} {code}): {said}"
    raise Undelivered(why, retry_after_s=busy_s if code in busy else 0.0, hopeless=code in refused)


def markdown(said: Said, max_bytes: int, mentions: str = "") -> str:
    """Title and lines in the little Markdown that all robots know, at most ``max_bytes`` in UTF-8; the link and the mentions
    stay whole, what is cut are the lines."""
    tail = "".join((f"\n\n[icctwin]({said.link})" if said.link else "", f"\n{mentions}" if mentions else ""))
    text = f"### {quoted(said.title)}\n\n" + "\n\n".join(quoted(line) for line in said.lines)
    return cut(text, max_bytes - len(tail.encode())) + tail


def quoted(text: str) -> str:
    """Without what Markdown or a robot would take for a mention or a link."""
    for sign in "\\`*_[]<>#":
        text = text.replace(sign, f"\\{sign}" if sign in "*_`" else {"[": "(", "]": ")"}.get(sign, " "))
    return text.replace("@", "＠")
