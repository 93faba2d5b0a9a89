"""Where frames and records are kept.

``embedded`` is the store that comes with the program (a folder of SQLite files), opened by ``open_store``; ``records`` keeps
what is not values over time. A further store is one module here that passes ``tests/store_contract.py``.
"""

from ingest.stores.embedded.retention import Retention
from ingest.stores.embedded.segments import SegmentStore, open_store
from ingest.stores.errors import StoreError
from ingest.stores.records import FileRecords, open_records

__all__ = ["FileRecords", "Retention", "SegmentStore", "StoreError", "open_records", "open_store"]
