"""All is let go while the records refuse every note, nothing is begun meanwhile, and the audit has each step once, in order."""

import resource
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from energy_house import NOW, SETPOINT, MemoryRecords, Physics, a_plan, hall, read
from faces_harness import DayStore, Hands
from obeying import Plant, yes
from test_acting import Waits
from test_energy_orders import Scheduler, begin, plan

from energy.act import Desk
from energy.memory import remembered
from energy.notebook import MISSING_FILE, Notebook
from energy.notes import TOPIC
from energy.plan import Mode
from ingest.stores.records import open_records
from twin.errors import SourceError
from twin.frame import Frame
from twin.order import Verb, orders
from twin.state import State
from ui.access.audit import audited, verify
from ui.acting import Acting
from ui.switch import ALIVE, STOP_FILE
from ui.view import Live
from ui.watchdog import Watch, look

SITE = hall()
WARMER = a_plan(("c1", 33.0), ("c2", 31.0))  # from 30 °C; a step is 1 K
STEPS = [("c1", 33.0), ("c2", 31.0), ("c1", 32.0), ("c2", 30.0), ("c1", 31.0), ("c1", 30.0)]


@pytest.fixture
def full() -> Iterator[Callable[[bool], None]]:
    """Says whether the disk is full: no file may grow then."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def say(is_full: bool) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if is_full else hard, hard))

    yield say
    say(False)


def seen(plant: Plant, now: datetime) -> State:
    """The hall with the CDUs' setpoints as they stand."""
    made = read(SITE, Physics(), 24.0, 30.0, now - timedelta(seconds=1))
    values = np.array([plant.values["c1"], plant.values["c2"]])
    made.absorb(Frame("cdu", now, SITE.all_rows("cdu"), {SETPOINT: values}), now)
    return made


class Centre:
    """Two CDUs and a scheduler under one desk; its records are a file, chained, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.plant, self.slurm, self.clock, self.folder = Plant(), Waits(), Hands(NOW), folder
        self.records = audited(open_records(folder / "records.db"))
        self.new()

    def new(self) -> None:
        """A process starts."""
        now = self.clock.now()
        live = Live(SITE, seen(self.plant, now), DayStore(), self.records, self.clock, now, folder=self.folder)
        self.live, actuators = live, {"c1": self.plant, "c2": self.plant}
        self.acting = Acting(live, lambda frames: None, [self.slurm], actuators, self.folder, levers={})

    async def begin(self) -> None:
        for made in (WARMER, begin("0", "1", key="p2"), plan(orders(Verb.HOLD, ["2"]), key="p3")):
            await self.acting.desk.decide(made, yes(made), Mode.AUTO, self.live.state, self.clock.now())

    async def pass_by(self, seconds: float = 5.0) -> None:
        """One look of the task."""
        self.clock.skip(seconds)
        now = self.clock.now()
        self.live.state = seen(self.plant, now)
        self.acting.seen("slurm", Scheduler.jobs(self.slurm), None)
        await self.acting.acts(now)

    def stages(self) -> list[str]:
        """What the audit has, in order: the asset or the first job, and what became of it."""
        notes = (record for *_, record in self.records.read(TOPIC))
        return [f"{note['asset'] if 'asset' in note else note['targets'][0]} {note['stage']}" for note in notes]


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(tmp_path)
    yield made
    made.records.close()


BEGUN = ["c1 begun", "c1 done", "c2 begun", "c2 done", "0 begun", "0 done", "2 begun", "2 done"]
LET_GO = [
    "c1 reverting", "c2 reverting", "c2 reverted", "0 reverting", "0 reverted", "2 reverting", "2 reverted",
    "c1 reverting", "c1 reverting", "c1 reverted",
]  # fmt: skip


async def test_a_stop_on_a_full_disk_lets_go_of_everything_and_is_told_once_there_is_room(
    centre: Centre, full: Callable[[bool], None]
) -> None:
    await centre.begin()
    assert (centre.plant.values, set(centre.slurm.begin), centre.slurm.held) == ({"c1": 33.0, "c2": 31.0}, {"0", "1"}, {"2"})
    full(True)
    (centre.folder / STOP_FILE).touch()
    for _ in range(4):
        with pytest.raises(SourceError):  # that the sign of life is refused is still said
            await centre.pass_by()
    assert centre.plant.orders == STEPS
    assert (centre.slurm.begin, centre.slurm.held, centre.slurm.noted) == ({}, set(), set())
    assert (centre.acting.desk.in_force, centre.acting.desk.ordered) == ((), ())
    for more in (a_plan(("c1", 32.0), key="p4"), begin("3", key="p5")):
        with pytest.raises(SourceError):
            await centre.acting.desk.decide(more, yes(more), Mode.AUTO, centre.live.state, centre.clock.now())
    assert (centre.plant.orders, centre.slurm.begin) == (STEPS, {})
    assert (centre.stages(), (centre.folder / MISSING_FILE).exists()) == (BEGUN, True)
    full(False)
    await centre.pass_by()
    assert centre.stages() == BEGUN + LET_GO
    assert (verify(centre.records, TOPIC).links, verify(centre.records, TOPIC).faults) == (18, ())
    after = remembered(centre.records, centre.clock.now())
    assert (after.open, after.ordered, (centre.folder / MISSING_FILE).exists()) == ({}, {}, False)
    await centre.pass_by()
    assert len(centre.stages()) == 18


async def test_who_starts_after_a_crash_on_a_full_disk_goes_on_from_a_step_half_way(
    centre: Centre, full: Callable[[bool], None]
) -> None:
    await centre.begin()
    full(True)
    (centre.folder / STOP_FILE).touch()
    with pytest.raises(SourceError):
        await centre.pass_by()
    assert centre.plant.values == {"c1": 32.0, "c2": 30.0}
    full(False)
    centre.new()  # killed before there was room: what waited is gone
    centre.clock.skip(100)
    for _ in range(3):
        await centre.pass_by()
    assert (centre.plant.orders, centre.slurm.begin, centre.slurm.held) == (STEPS, {}, set())
    mine = [stage for stage in centre.stages()[8:] if stage[0] == "c"]
    assert mine == ["c2 reverted", "c1 reverting", "c1 reverting", "c1 reverted"]  # c2 stands where it stood before
    assert [stage for stage in centre.stages()[8:] if stage[0] == "0"] == ["0 reverting", "0 left"]  # as docs/acting.md says
    assert centre.acting.desk.hands_off("slurm") == {"0", "1"}
    assert (centre.folder / MISSING_FILE).exists() is False
    assert (centre.acting.desk.in_force, verify(centre.records, TOPIC).faults) == ((), ())


async def half_way(centre: Centre, c1_c: float, marked: bool) -> list[str]:
    """Stages of c1 after a start that finds it at ``c1_c`` [°C]; ``marked``: with notes missing."""
    await centre.begin()
    centre.plant.values["c1"] = c1_c
    (centre.folder / STOP_FILE).touch()
    if marked:
        (centre.folder / MISSING_FILE).touch()
    centre.clock.skip(100)
    centre.new()
    await centre.pass_by()
    return [stage for stage in centre.stages()[8:] if stage.startswith("c1")]


@pytest.mark.parametrize(
    ("c1_c", "marked", "stages"),
    [(32.0, True, ["c1 reverting"]), (32.0, False, ["c1 left"]), (34.0, True, ["c1 left"]), (31.5, True, ["c1 left"])],
)
async def test_what_no_step_of_ours_explains_is_a_persons_also_where_notes_are_missing(
    c1_c: float, marked: bool, stages: list[str], centre: Centre
) -> None:
    assert await half_way(centre, c1_c, marked) == stages


async def test_the_file_stays_until_what_it_is_about_is_over(centre: Centre) -> None:
    await half_way(centre, 32.0, marked=True)
    mark = centre.folder / MISSING_FILE
    assert mark.exists()
    await centre.pass_by()
    centre.new()  # and dies again: of what it has not noted it still knows that notes are missing
    assert mark.exists()
    await centre.pass_by()
    await centre.pass_by()
    assert (centre.plant.values["c1"], mark.exists()) == (30.0, False)


class Refuses(MemoryRecords):
    """Takes ``room_count`` more notes of the audit."""

    room_count = 1000

    def append(self, topic, time, record):
        if topic == TOPIC and self.room_count <= 0:
            raise SourceError("no room")
        self.room_count -= topic == TOPIC
        return super().append(topic, time, record)


def note(number: int) -> tuple[datetime, dict[str, int]]:
    return NOW, {"n": number}


def numbers(records: Refuses) -> list[int]:
    return [record["n"] for _, _, _, record in records.all]


def test_notes_wait_in_order_up_to_their_bound_and_each_is_written_once(tmp_path: Path) -> None:
    records, mark = Refuses(), tmp_path / MISSING_FILE
    book = Notebook(records, most_count=4, mark=mark)
    records.room_count = 2
    book.tell(note(n) for n in range(4))  # two of them are taken
    book.tell([note(4), note(5)])
    assert (numbers(records), book.waiting_count, mark.exists()) == ([0, 1], 4, True)
    with pytest.raises(SourceError, match="no room"):
        book.tell([note(6)])  # there is no room in memory either
    with pytest.raises(SourceError, match="no room"):
        book.keep([note(7)])
    records.room_count = 1
    with pytest.raises(SourceError, match="no room"):
        book.catch_up(settled=True)
    assert (numbers(records), book.waiting_count, mark.exists()) == ([0, 1, 2], 3, True)
    records.room_count = 1000
    book.keep([note(8)])  # what waits first
    assert numbers(records) == [0, 1, 2, 3, 4, 5, 8]
    book.catch_up(settled=False)
    assert mark.exists()
    book.catch_up(settled=True)
    assert (numbers(records), book.waiting_count, mark.exists()) == ([0, 1, 2, 3, 4, 5, 8], 0, False)


def test_where_the_file_cannot_be_made_notes_wait_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = Refuses()
    book = Notebook(records, most_count=4, mark=tmp_path / "not-there" / MISSING_FILE)
    records.room_count = 0
    book.tell([note(0)])
    assert (book.waiting_count, "will not know that notes are missing" in caplog.text) == (1, True)


async def test_a_desk_that_does_not_live_on_lets_nothing_go_untold(centre: Centre, full: Callable[[bool], None]) -> None:
    await centre.pass_by()
    await centre.begin()
    (sign,) = (time for _, time, _ in centre.records.read(ALIVE))
    full(True)
    centre.clock.skip(300)
    with pytest.raises(SourceError):
        await look(Watch(SITE, centre.records, ()), sign + timedelta(seconds=300))
    assert centre.plant.orders == STEPS[:2]
    heir = Desk(SITE, centre.records, {"c1": centre.plant, "c2": centre.plant}, centre.clock.now())
    with pytest.raises(SourceError):
        await heir.revert_due(centre.live.state, centre.clock.now(), all_now=True)
    assert centre.plant.orders == STEPS[:2]


async def test_an_end_in_good_order_on_a_full_disk_says_how_many_notes_are_lost(
    centre: Centre, full: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    await centre.begin()
    full(True)
    await centre.acting.give_back(centre.clock.now())
    full(False)
    assert (centre.plant.values, centre.slurm.held) == ({"c1": 30.0, "c2": 30.0}, set())
    assert "8 notes of what was let go are lost" in caplog.text
    assert (centre.folder / MISSING_FILE).exists()
