"""Orders to Slurm's nodes: drain with a reason, give back, weight, features; by REST since v0.0.41, by command before.

A node that a person has drained is left alone: ours is known by its reason.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.queues.slurm_commands import Commands
from ingest.queues.slurm_records import node_record, number, words
from ingest.queues.slurm_rest import SlurmRest
from twin.errors import SourceError
from twin.job import NodeState
from twin.order import Receipt, Result, Verb

OURS = "icctwin:"  # how our reason at a node begins
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True, slots=True)
class _How:
    """How a verb reads a node, whether it is so already, and what to write: the body of REST, the words of scontrol."""

    read: Callable[[Any], float]
    same: Callable[[Any, float, str], bool]
    body: Callable[[float, str], Mapping[str, Any]]
    line: Callable[[float, str], Sequence[str]]


async def order_node(
    rest: SlurmRest | None, commands: Commands | None, verb: Verb, name: str, value: float, text: str
) -> Receipt:
    """One order to one node. ``SourceError`` where the scheduler does not answer."""
    if verb not in _HOW:
        return Receipt(Result.FAILED, why=f"Slurm knows no order {verb}")
    if not _NAME.fullmatch(name):
        return Receipt(Result.FAILED, why=f"{name[:40]!r} is no name of a node")
    node, how = await _node(rest, commands, name), _HOW[verb]
    if node is None:
        return Receipt(Result.GONE, why="there is no such node")
    before, said = how.read(node), _shown(node, verb)
    if how.same(node, value, text):
        return Receipt(Result.SAME, before, before, said)
    if verb in (Verb.DRAIN, Verb.UNDRAIN) and _drained(node) and not _reason(node).startswith(OURS):
        return Receipt(Result.REFUSED, before, before, said, f"a person has drained it: {_reason(node)[:80]}")
    wrong = await _write(rest, commands, name, how.body(value, text), how.line(value, text))
    after = await _node(rest, commands, name)
    if after is not None and how.same(after, value, text):
        return Receipt(Result.DONE, before, how.read(after), said)
    return Receipt(Result.FAILED, before, math.nan, said, wrong or "Slurm took the order and shows something else")


async def _write(
    rest: SlurmRest | None, commands: Commands | None, name: str, body: Mapping[str, Any], line: Sequence[str]
) -> str:
    if rest and await rest.can_update_nodes():
        return await rest.update_node(name, body)
    if commands is None:
        return "slurmrestd has no call for nodes in this version; allow scontrol with commands = true"
    try:
        await commands.run("scontrol", "update", f"NodeName={name}", *line)
    except SourceError as error:
        return str(error)
    return ""


async def _node(rest: SlurmRest | None, commands: Commands | None, name: str) -> Any | None:
    if rest:
        return await rest.node(name)
    nodes: Sequence[Any] = (await commands.tables())[1] if commands else ()
    return next((one for one in nodes if one.get("name") == name), None)


def _drained(node: Any) -> bool:
    # drained and down at once is drained all the same
    flags = {*words(node.get("state")), *words(node.get("state_flags"))}
    return node_record(node).state == NodeState.DRAINED or "DRAIN" in flags


def _reason(node: Any) -> str:
    return str(node.get("reason") or "")


def _ours(text: str) -> str:
    return " ".join(f"{OURS} {text}".split())[:160]


def _features(said: Any) -> set[str]:
    return set(said.split(",") if isinstance(said, str) else said or ()) - {""}


def _featured(node: Any, value: float, text: str) -> bool:
    # those that a node has, and those of them that count now
    return _features(node.get("features")) == _features(node.get("active_features")) == _features(text)


def _shown(node: Any, verb: Verb) -> str:
    return ",".join(sorted(_features(node.get("features")))) if verb is Verb.FEATURES else _reason(node)


_HOW: Mapping[Verb, _How] = {
    Verb.DRAIN: _How(
        lambda node: float(_drained(node)),
        lambda node, value, text: _drained(node) and _reason(node) == _ours(text),
        lambda value, text: {"state": ["DRAIN"], "reason": _ours(text)},
        lambda value, text: ("State=DRAIN", f"Reason={_ours(text)}"),
    ),
    Verb.UNDRAIN: _How(
        lambda node: float(_drained(node)),
        lambda node, value, text: not _drained(node),
        lambda value, text: {"state": ["RESUME"]},
        lambda value, text: ("State=RESUME",),
    ),
    Verb.WEIGHT: _How(
        lambda node: number(node.get("weight")),
        lambda node, value, text: number(node.get("weight")) == value,
        lambda value, text: {"weight": {"set": True, "infinite": False, "number": int(value)}},
        lambda value, text: (f"Weight={value:.0f}",),
    ),
    Verb.FEATURES: _How(
        lambda node: math.nan,
        _featured,
        lambda value, text: {"features": sorted(_features(text)), "features_act": sorted(_features(text))},
        lambda value, text: (f"AvailableFeatures={text}", f"ActiveFeatures={text}"),
    ),
}
