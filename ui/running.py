"""A centre that runs: its tasks on a real clock, its faces on a port, signals that end it or reload its configuration.

A reload checks the new configuration, then puts a new centre in the place of the running one; what is wrong with it is said,
and the old one goes on.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from twin.errors import ConfigError, SourceError
from twin.message import Message
from ui.app import WHOLE, Centre, prepared
from ui.config import Config, load_config
from ui.ending import Ending
from ui.listen import faces, handled, listen
from ui.memory import TIDY_S, Tidy
from ui.roles import Part
from ui.shared import records_of
from ui.sparing import ASKED
from ui.tasks import RealClock

log = logging.getLogger(__name__)

AGAIN_S = 5.0  # where neither the new configuration starts nor the one before
TASKS_S = 5.0  # for tasks under way, when the process ends


class _Run:
    """A running centre that can be replaced by the next. ``ended`` is called when it is over, ``broke`` where by a fault of
    ours. ``begin`` and ``end`` are called from one thread."""

    def __init__(
        self, centre: Centre, loop: asyncio.AbstractEventLoop, speed: float, path: Path | None, ended: Callable[[], None]
    ) -> None:
        self.centre, self.live, self._ended, self.broke = centre, centre.live, ended, False
        self._loop, self._speed, self._path = loop, speed, path
        self._lives = True  # not while a reload finds no configuration that starts
        self._wanted, self._over = SimpleQueue[None](), threading.Event()
        self._thread = threading.Thread(target=self._life, name="centre", daemon=True)

    def begin(self) -> None:
        """Start the tasks, after the history that a simulated plant makes up; returns at once."""
        self._thread.start()

    def reload_soon(self) -> None:
        """Ask for the configuration to be read again; safe in a signal handler."""
        self._wanted.put(None)

    def end(self) -> None:
        """Stop the tasks and close the store; returns when all is kept."""
        self._over.set()
        self._wanted.put(None)
        self._thread.join()

    def _life(self) -> None:
        try:
            self._live_on()
        except Exception:
            log.exception("the centre broke; icctwin ends")
            self.broke = True
        try:
            if self._lives:
                self.broke |= not self.centre.stop(self._loop, within_s=TASKS_S)
        except Exception:
            log.exception("the centre did not end in good order")
            self.broke = True
        self._ended()

    def _live_on(self) -> None:
        self.centre.make_past(self._over.is_set)
        if self._over.is_set():
            return
        self.centre.start(self._loop, self._speed)
        tidy = Tidy()
        while not self._over.is_set():
            try:
                self._wanted.get(timeout=TIDY_S)
            except Empty:
                tidy.run()
                continue
            while not self._wanted.empty():  # asked for twice is done once
                self._wanted.get()
            if not self._over.is_set():
                self._reload()
                tidy = Tidy()  # of the centre that came in its place

    def _reload(self) -> None:
        if self._path is None:
            self.live.notices = (Message("The demo has no configuration to read again"),)
            return
        old = self.centre
        try:
            config = load_config(self._path)
            prepared(config, old.part, old.clock.now())
            records_of(config).close()  # nobody lets go of a database that answers for one that does not
        except (ConfigError, SourceError) as error:
            self._refused(error)
            return
        except Exception as error:
            log.exception("the new configuration cannot be looked at")
            self._refused(error)
            return
        try:
            self._lives = False
            old.stop(self._loop)
        except Exception:
            log.exception("the old centre did not end in good order")
        self._begin_anew(config, old)

    def _refused(self, error: Exception) -> None:
        log.error("the new configuration is refused, the old one goes on: %s", error, extra=ASKED)
        said = str(error.problems[0] if isinstance(error, ConfigError) else error)
        self.live.notices = (Message("The new configuration is refused, the old one goes on: {why}", {"why": said}),)

    def _begin_anew(self, config: Config, old: Centre) -> None:
        """``config`` in the place of ``old``, which has stopped; where it does not start that of ``old``; where that does not
        either (a database went away just now) the same again, for as long as it takes: nobody is helped by a process that is
        gone."""
        why = ""
        while not self._over.is_set():
            for one in (config, old.config):
                if refused := self._taken(one, old):
                    log.error("the configuration of %s does not start: %s", "now" if one is config else "before", refused)
                    why = why or refused
                    continue
                self.centre.start(self._loop, self._speed)
                self._lives = True
                self._tell(config, old.config, why if one is not config else "")
                return
            self._over.wait(AGAIN_S)

    def _taken(self, config: Config, old: Centre) -> str:
        """Make the centre of ``config``; why it cannot be, "" where it is there."""
        try:
            self.centre = Centre(config, old.clock, live=self.live, part=old.part)
        except (ConfigError, SourceError) as error:
            return str(error)
        except Exception as error:
            log.exception("a centre breaks before it lives")
            return repr(error)
        return ""

    def _tell(self, config: Config, before: Config, why: str) -> None:
        if why:
            self.live.notices = (Message("The new configuration does not start: {why}", {"why": why}),)
            log.error("the new configuration does not start, the old one goes on: %s", why, extra=ASKED)
            return
        if config.wall != before.wall:
            self.live.notices = (Message("Restart icctwin to move the wall to its new address"),)
        log.warning("the configuration was read again", extra=ASKED)


def serve(
    config: Config,
    *,
    speed: float = 1.0,
    demo: bool = False,
    seconds: float | None = None,
    path: Path | None = None,
    part: Part = WHOLE,
) -> int:
    """Run ``part`` of a centre, and its faces where that is the wall, until SIGTERM or SIGINT (or for ``seconds``); SIGHUP
    reads ``path`` again. Gives the exit status: 1 where the centre itself broke."""
    listener = listen(config.wall, config.access.proxies) if "wall" in part.roles else None
    centre = Centre(config, RealClock(speed), part=part)
    centre.live.demo, centre.live.speed = demo, speed
    loop = asyncio.new_event_loop()
    ingest = threading.Thread(target=loop.run_forever, name="ingest", daemon=True)
    ingest.start()
    server, over = faces(centre.live, config.wall) if listener else None, SimpleQueue[None]()

    def end() -> None:
        over.put(None)
        if server:
            server.should_exit = True

    run, ending = _Run(centre, loop, speed, path, end), Ending(end)
    timer = threading.Timer(seconds, end) if seconds else None
    ending.start()
    handlers = handled({signal.SIGTERM: ending.told, signal.SIGINT: ending.told, signal.SIGHUP: run.reload_soon})
    try:
        run.begin()
        if timer:
            timer.start()
        if listener and server:
            log.warning("the wall is on %s", config.wall.address(listener.getsockname()[1]))
            server.run(sockets=[listener])
        else:
            log.warning("%s runs", part.name)
            over.get()
    finally:
        if timer:
            timer.cancel()
        run.end()
        loop.call_soon_threadsafe(loop.stop)
        ingest.join()
        loop.close()
        if listener:
            listener.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        ending.done(int(run.broke))
    return int(run.broke)
