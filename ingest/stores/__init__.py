"""Where frames and records are kept.

One store today: ``segments`` (embedded, in a folder of SQLite files), opened by ``open_store``; ``records`` keeps what is not
values over time. A further store is one module here that passes ``tests/store_contract.py``.
"""

from ingest.stores.files import StoreError
from ingest.stores.records import FileRecords, open_records
from ingest.stores.retention import Retention
from ingest.stores.segments import SegmentStore, open_store

__all__ = ["FileRecords", "Retention", "SegmentStore", "StoreError", "open_records", "open_store"]
