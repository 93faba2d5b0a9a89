"""What every store of ours gives beside the port."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from twin.frame import Ints, Origin
from twin.ports import Series, Store


class Kept(Store, Protocol):
    """A store that can be asked for all that it was given."""

    def marked(
        self, kind: str, metrics: Sequence[str], start: datetime, end: datetime, rows: Ints, origin: Origin, band: str
    ) -> Series:
        """Values as stored, bad ones too; beside each metric, called as it is with ``line_protocol.GRADE`` behind, the table
        of qualities that were said (NaN and 0: good)."""
        ...

    @property
    def raw_from(self) -> datetime | None:
        """Before it only rollups are left, which ``series`` gives in steps of minutes or hours; None: there are none."""
        ...
