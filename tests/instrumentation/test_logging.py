"""Records of handlers, steps and other libraries, in first attempts and in replays."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import anyio
import pytest
import structlog
from structlog.testing import LogCapture

from perdure import Context, Service, VirtualObject
from perdure.handlers.context import ObjectContext
from perdure.instrumentation import AttemptFilter, AttemptProcessor, Replayed, attempt_fields
from perdure.testing.run import run

pytestmark = pytest.mark.anyio

library = logging.getLogger("somebody.elses.library")
shop = Service("LogShop")
shelf = VirtualObject("LogShelf")


async def weigh() -> int:
    structlog.get_logger().info("in the step")
    return 3


def measure() -> int:
    library.warning("in a thread")
    return 4


@shop.handler
async def pack(ctx: Context, what: str) -> int:
    log = structlog.get_logger()
    log.info("begin", what=what)
    library.warning("library begins")
    weight = await ctx.run(weigh)
    log.info("weighed")
    await ctx.sleep(1)
    library.warning("library ends")
    log.info("end")
    return weight


@shop.handler
async def pack_in_thread(ctx: Context) -> int:
    return await ctx.run(measure)


@shop.handler
async def pack_carefully(ctx: Context) -> None:
    try:
        await ctx.sleep(1)
    finally:
        library.warning("left")


@shelf.handler
async def fill(ctx: ObjectContext, what: str) -> None:
    structlog.get_logger().info("filled", handler="mine")


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


@pytest.fixture
def events() -> Iterator[LogCapture]:
    capture = LogCapture()
    yield capture
    structlog.reset_defaults()


def configure(events: LogCapture, replayed: Replayed = Replayed.DROP) -> None:
    structlog.configure(processors=[AttemptProcessor(replayed), events], cache_logger_on_first_use=False)


def names(events: LogCapture) -> list[str]:
    return [entry["event"] for entry in events.entries]


async def test_each_event_is_written_once_although_every_await_is_replayed(events: LogCapture) -> None:
    configure(events)
    ran = await run(pack, "book", always_replay=True)
    assert ran.attempts > 2
    assert sorted(set(names(events))) == ["begin", "end", "in the step", "weighed"]
    assert names(events).count("begin") == 1
    assert names(events).count("in the step") == 1


async def test_records_of_other_libraries_are_silenced_in_replays_too(records: Records) -> None:
    records.addFilter(AttemptFilter())
    await run(pack, "book", always_replay=True)
    assert records.messages.count("library begins") == 1


async def test_without_the_filter_a_replay_repeats_records(records: Records) -> None:
    ran = await run(pack, "book", always_replay=True)
    assert records.messages.count("library begins") == ran.attempts


async def test_events_carry_the_invocation_they_belong_to(events: LogCapture) -> None:
    configure(events)
    await run(pack, "book")
    entry = events.entries[0]
    assert entry["service"] == "LogShop"
    assert entry["handler"] == "pack"
    assert entry["attempt"] == 1
    assert entry["invocation_id"].startswith("inv_1")
    assert "key" not in entry


async def test_the_key_of_an_object_is_bound_and_the_events_own_fields_win(events: LogCapture) -> None:
    configure(events)
    await run(fill, "book", key="top")
    assert events.entries[0]["key"] == "top"
    assert events.entries[0]["handler"] == "mine"


async def test_a_step_in_a_worker_thread_is_bound_too(records: Records) -> None:
    records.addFilter(AttemptFilter())
    await run(pack_in_thread)
    assert [record.__dict__["handler"] for record in records.records] == ["pack_in_thread"]


async def test_marking_keeps_repeated_events_and_says_so(events: LogCapture) -> None:
    configure(events, Replayed.MARK)
    ran = await run(pack, "book", always_replay=True)
    begins = [entry for entry in events.entries if entry["event"] == "begin"]
    assert len(begins) == ran.attempts
    assert [entry.get("replaying", False) for entry in begins] == [False] + [True] * (ran.attempts - 1)


async def test_demoting_makes_repeated_records_debug_records(records: Records) -> None:
    records.addFilter(AttemptFilter(Replayed.DEMOTE))
    await run(pack, "book", always_replay=True)
    levels = [record.levelno for record in records.records if record.getMessage() == "library begins"]
    assert levels[0] == logging.WARNING
    assert set(levels[1:]) == {logging.DEBUG}


async def test_what_unwinds_in_a_suspended_attempt_is_silent(records: Records) -> None:
    records.addFilter(AttemptFilter())
    await run(pack_carefully, always_replay=True)
    assert records.messages.count("left") == 1


async def test_outside_of_attempts_everything_passes_and_attributes_are_none(records: Records) -> None:
    records.addFilter(AttemptFilter())
    library.warning("alone")
    assert records.messages == ["alone"]
    assert records.records[0].__dict__["invocation_id"] is None
    assert attempt_fields() == {}


async def test_perdures_own_records_are_never_dropped(records: Records) -> None:
    records.addFilter(AttemptFilter())
    service = Service("LogOwn")

    @service.handler
    async def late(ctx: Context) -> None:
        try:
            await ctx.sleep(1)
        except anyio.get_cancelled_exc_class():
            raise ValueError("while unwinding") from None

    await run(late, always_replay=True)
    assert any("unwound" in message for message in records.messages)
