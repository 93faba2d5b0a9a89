"""What goes on beside a bench, in a thread of its own."""

import threading  # noqa: TID251 - a bench drives from outside what tasks drive inside


class Beside:
    """``step`` every ``every_s`` seconds from ``start`` to ``stop``."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, once the step that is under way is done."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def step(self) -> None:
        """What is done each time."""
        raise NotImplementedError

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self.step()
