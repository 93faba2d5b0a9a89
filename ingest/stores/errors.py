"""What a store that cannot be written or read says."""

from twin.errors import SourceError


class StoreError(SourceError):
    """The store said no, or holds what cannot be read. Nothing acknowledged is lost; try again once it is mended."""
