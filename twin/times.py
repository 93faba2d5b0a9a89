"""Times as whole microseconds since 1970 UTC, which int64 holds exactly where float seconds do not."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(time: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def moment(time_us: int) -> datetime:
    """Undo ``micros``; ``OverflowError`` for what is no date."""
    return _EPOCH + timedelta(microseconds=time_us)
