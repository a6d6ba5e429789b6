"""Recovery is the fold: what is loaded from the store after each batch, and after crashes, is what its rows amount to.

The whole life of invocations is run as in `tests.engine.model_machine`, with a SQLite database under the residents.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from perdure.engine import rows as r
from perdure.engine.residency import Residents
from perdure.engine.storage.connection import MEMORY, connect
from perdure.engine.storage.migrations import migrate
from perdure.engine.storage.reader import StoreReader
from perdure.engine.storage.statements import write
from tests.engine.model_machine import Lifecycles
from tests.engine.pure_engine import PureEngine
from tests.engine.storage.profile import PATIENCE, scaled
from tests.engine.storage.test_rows import everything, services
from tests.engine.tables import Reads, Tables

pytestmark = PATIENCE


class StoredTables(Tables):
    """Tables whose rows are written to a database too."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = connect(MEMORY, read_only=False)
        migrate(self.connection, MEMORY)

    def write(self, row: r.Row) -> None:
        super().write(row)
        write(self.connection.execute, [row])


class StoredEngine(PureEngine):
    """Decides over what it reads from the database."""

    stored: StoredTables

    def _begin(self) -> None:
        if not isinstance(self.tables, StoredTables):
            self.tables = self.stored = StoredTables()
        super()._begin()
        reader = StoreReader(self.stored.connection)
        self.reader = reader  # type: ignore[assignment]  # it has the surface of one
        self.residents = Residents(reader, room=1)


class StoredLifecycles(Lifecycles):
    """The same events, with a database."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = self.stored = StoredEngine(checked=False)

    def compare(self) -> None:
        super().compare()
        tables = self.stored.stored
        reader, expected = StoreReader(tables.connection), Reads(tables)
        numbers, ids = [*tables.invocations, 1], [row.id for row in tables.invocations.values()]
        assert everything(reader, numbers, ids) == everything(expected, numbers, ids)
        assert services(reader) == services(expected)

    def teardown(self) -> None:
        super().teardown()
        self.stored.stored.connection.close()


def test_what_is_loaded_from_the_store_is_what_the_rows_amount_to() -> None:
    run_state_machine_as_test(
        StoredLifecycles, settings=settings(max_examples=scaled(10, 500), stateful_step_count=30, deadline=None)
    )
