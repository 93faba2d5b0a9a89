"""What a store that cannot be written or read says."""

from twin.errors import SourceError


class StoreError(SourceError):
    """The store said no, or holds what cannot be read. Nothing acknowledged is lost; try again once it is mended."""


class LeftOut(StoreError):
    """Some values are lost, for the store will never take them, however often it is asked; all else that came with them is
    kept. ``samples``: how many."""

    def __init__(self, sentence: str, samples: int) -> None:
        super().__init__(sentence)
        self.samples = samples
