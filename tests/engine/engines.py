"""Engines for tests: on each store, with virtual time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import perdure
from perdure.engine.core import Core
from perdure.engine.engine import Engine
from perdure.testing import VirtualClock
from tests.engine.tables import Tables, TableStore

STORES = ["memory", "file", "tables"]


def engine_on(store: str, folder: Path, *services: Any, clock: VirtualClock | None = None, **options: Any) -> Engine:
    """An engine on a store of this kind, with virtual time of its own unless a clock is given."""
    endpoint = perdure.Endpoint(*services)
    clock = VirtualClock() if clock is None else clock
    if store == "tables":
        return table_engine(Tables(), endpoint, clock=clock, **options)[0]
    path = ":memory:" if store == "memory" else folder / "engine.db"
    return perdure.open_engine(path, endpoint, clock=clock, **options)


def table_engine(
    tables: Tables,
    endpoint: perdure.Endpoint,
    *,
    cut_after: int | None = None,
    on_cut: Callable[[], None] = lambda: None,
    **options: Any,
) -> tuple[Engine, list[TableStore]]:
    """An engine on tables in dictionaries, and the store that it opens."""
    stores: list[TableStore] = []

    def open_tables(_: str, **__: Any) -> TableStore:
        store = TableStore(tables, cut_after=cut_after, on_cut=on_cut)
        stores.append(store)
        return store

    engine = perdure.open_engine("tables", endpoint, **options)
    engine._open_store = open_tables  # type: ignore[assignment]  # it has the surface of a store
    return engine, stores


def core_of(engine: Engine) -> Core:
    """What is below the surface of an open engine."""
    return engine.core
