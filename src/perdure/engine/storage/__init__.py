"""The store of the embedded engine: one SQLite file, where a commit is durable when it returns.

`open_store` opens it; `Store` takes batches of rows, tells on the loop when each is durable, and has a `reader` for
what is committed. Nothing in here decides anything: rows come from `perdure.engine.lifecycle` and go back as they were.
"""

from __future__ import annotations

from perdure.engine.storage.errors import Corrupt, DatabaseInUse, NewerSchema, NotPerdure, NotWritable, StorageError
from perdure.engine.storage.reader import StoreReader
from perdure.engine.storage.store import Store, open_store

__all__ = [
    "Corrupt",
    "DatabaseInUse",
    "NewerSchema",
    "NotPerdure",
    "NotWritable",
    "StorageError",
    "Store",
    "StoreReader",
    "open_store",
]
