"""What has to be true after every batch: the invariants of the engine, asserted where tests run it.

Each check returns what is wrong, in words; nothing wrong is an empty list. They read memory and tables, so they cost
more than what they check: no engine runs them by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec.structs import asdict, replace

from perdure.engine.entities import InvocationEntity, LiveEntity, Phase, Sink
from perdure.engine.residency import Residents
from perdure.engine.rows import FORGET, START, Kind, PutTimer, Status
from perdure.engine.suspension import satisfied
from perdure.engine.view import Reader
from perdure.wire import messages as m

__all__ = ["broken"]

_NOT_STORED: Final = {"entered_at": 0}
_ALL: Final = 1 << 62


def broken(residents: Residents, reader: Reader, numbers: Iterable[int], timers: Iterable[PutTimer]) -> list[str]:
    """What is wrong, when everything decided is committed.

    Args:
        residents: memory.
        reader: the tables.
        numbers: every invocation in the tables.
        timers: every timer in the tables.

    Returns:
        One sentence for each thing that is wrong.
    """
    return list(_broken(residents, reader, list(numbers), list(timers)))


def _broken(residents: Residents, reader: Reader, numbers: list[int], timers: list[PutTimer]) -> Iterator[str]:
    fresh = Residents(reader)
    yield from _memory_is_a_load(residents, fresh)
    entities = [entity for number in numbers if (entity := fresh.invocation(number)) is not None]
    for entity in entities:
        journal = reader.entries(entity.number, 0, _ALL)
        yield from _journal(entity, journal)
        yield from _completions(entity, journal)
        yield from _place(entity, residents.live(entity.number))
        yield from _suspension(entity)
        yield from _pin(entity)
        yield from _calls(entity, entities, fresh)
    yield from _keys(entities, fresh)
    yield from _timers(timers, {entity.number: entity for entity in entities}, fresh)


def _memory_is_a_load(residents: Residents, fresh: Residents) -> Iterator[str]:
    """I1: memory equals a fresh load for every resident entity."""
    for entity in residents.resident():
        loaded = fresh.invocation(entity.number)
        if loaded is None:
            yield f"I1: invocation {entity.number} is in memory, and in no table"
        elif replace(entity, **_NOT_STORED) != replace(loaded, **_NOT_STORED):
            mine, theirs = asdict(entity), asdict(loaded)
            fields = [name for name in mine if mine[name] != theirs[name] and name not in _NOT_STORED]
            told = ", ".join(
                f"{name} is {mine[name]!r} in memory and {theirs[name]!r} in the tables" for name in fields
            )
            yield f"I1: of invocation {entity.number}, {told}"
    for key in residents.resident_keys():
        loaded_key = fresh.key(key.service, key.key)
        if (key.holder or key.queue) and (loaded_key is None or loaded_key != key):
            yield f"I1: key {key.service}/{key.key} is {key} in memory and {loaded_key} in the tables"


def _journal(entity: InvocationEntity, journal: list[m.Message] | Iterable[m.Message]) -> Iterator[str]:
    """I2: the input first, at most one output, no command behind it; dense up to what is remembered of it."""
    entries = list(journal)
    if not entries:
        if entity.status is not Status.COMPLETED:
            yield f"I2: invocation {entity.number} has no journal"
        return
    if len(entries) != entity.length:
        yield f"I2: the journal of invocation {entity.number} has {len(entries)} entries, not {entity.length}"
    commands = [entry for entry in entries if isinstance(entry, m.Command)]
    if not isinstance(entries[0], m.InputCommand):
        yield f"I2: the journal of invocation {entity.number} begins with {type(entries[0]).__name__}"
    kinds = Counter(type(command) for command in commands)
    if kinds[m.InputCommand] != 1 or kinds[m.OutputCommand] > 1:
        yield f"I2: the journal of invocation {entity.number} has more than one input or output"
    if kinds[m.OutputCommand] and not isinstance(commands[-1], m.OutputCommand):
        yield f"I2: invocation {entity.number} did something after its output"


def _completions(entity: InvocationEntity, journal: Iterable[m.Message]) -> Iterator[str]:
    """I3: per completion id at most one completion, and only after its command."""
    asked: set[int] = set()
    answered: set[int] = set()
    for entry in journal:
        if isinstance(entry, m.Command):
            for field in ("invocation_id_notification_idx", "result_completion_id"):
                wanted: int | None = getattr(entry, field, None)
                if wanted is None:
                    continue
                if wanted in asked:
                    yield f"I3: invocation {entity.number} asked twice for completion {wanted}"
                asked.add(wanted)
        elif not isinstance(entry, m.SignalNotification):
            id = getattr(entry, "completion_id", 0)
            if id not in asked or id in answered:
                yield f"I3: invocation {entity.number} has completion {id} unasked, or twice"
            answered.add(id)


def _place(entity: InvocationEntity, live: LiveEntity | None) -> Iterator[str]:
    """I4: a live invocation is in exactly one place."""
    phase = Phase.IDLE if live is None else live.phase
    if entity.status is Status.INVOKED:
        if phase is Phase.IDLE:
            yield f"I4: nobody attends to invocation {entity.number}, which is in work"
    elif phase is not Phase.IDLE:
        yield f"I4: invocation {entity.number} is {entity.status.name} and {phase.name} at once"
    if phase is Phase.READY and live is not None and live.attempt:
        yield f"I4: invocation {entity.number} is to start, and has an attempt"


def _suspension(entity: InvocationEntity) -> Iterator[str]:
    """I5: what a suspended invocation waits for is not there."""
    if (entity.status is Status.SUSPENDED) != (entity.awaited is not None):
        yield f"I5: invocation {entity.number} is {entity.status.name} and waits for {entity.awaited}"
    if entity.awaited is not None and satisfied(entity, entity.awaited):
        yield f"I5: invocation {entity.number} sleeps, and what it waits for is there"


def _keys(entities: list[InvocationEntity], fresh: Residents) -> Iterator[str]:
    """I6: per key one holder, the holder live, a queue only behind a holder, and nobody beside them."""
    names = {(entity.service, entity.key) for entity in entities if entity.kind is Kind.EXCLUSIVE}
    by_number = {entity.number: entity for entity in entities}
    for service, name in names:
        key = fresh.key(service, name)
        mine = [entity for entity in entities if (entity.service, entity.key) == (service, name)]
        holding = [
            entity.number
            for entity in mine
            if entity.kind is Kind.EXCLUSIVE and entity.status in {Status.INVOKED, Status.SUSPENDED, Status.PAUSED}
        ]
        queued = sorted((entity.position, entity.number) for entity in mine if entity.status is Status.QUEUED)
        holder = 0 if key is None else key.holder
        queue = [] if key is None else [(at, waiting.number) for at, waiting in key.queue.items() if waiting.number]
        if holding != ([holder] if holder else []):
            yield f"I6: key {service}/{name} is held by {holder}, and {holding} are in work"
        if queued != queue:
            yield f"I6: the queue of key {service}/{name} is {queue}, and {queued} are queued"
        if key is not None and key.queue and holder not in by_number:
            yield f"I6: there is a queue for key {service}/{name}, which nobody holds"


def _timers(timers: list[PutTimer], entities: dict[int, InvocationEntity], fresh: Residents) -> Iterator[str]:
    """I7: every timer belongs to a live invocation or to a retention, and each of those has its timer."""
    expected: set[PutTimer] = set()
    for entity in entities.values():
        if entity.status is Status.SCHEDULED:
            expected.add(PutTimer(entity.start_at, entity.number, START))
        elif entity.status is Status.COMPLETED:
            if not fresh.works_about(entity.number):
                expected.add(PutTimer(entity.expires_at, entity.number, FORGET))
            continue
        expected |= {PutTimer(due, entity.number, id) for id, due in entity.sleeps.items()}
    stored = set(timers)
    for timer in expected - stored:
        yield f"I7: {timer} is missing"
    for timer in stored - expected:
        entity_of = entities.get(timer.number)
        if entity_of is None or entity_of.status is not Status.COMPLETED or timer.completion >= START:
            yield f"I7: {timer} belongs to nothing"


def _calls(entity: InvocationEntity, entities: list[InvocationEntity], fresh: Residents) -> Iterator[str]:
    """I8: who waits for a result is in the sinks of somebody who will have one."""
    if entity.status is Status.COMPLETED:
        return
    waiting = {m.CallCompletion.type_code, m.AttachInvocationCompletion.type_code}
    for id, code in entity.open.items():
        if code not in waiting:
            continue
        sink = Sink(entity.number, id)
        callees = [other for other in entities if sink in other.sinks]
        if len(callees) != 1:
            yield f"I8: invocation {entity.number} waits for completion {id}, and {len(callees)} invocations know it"
        elif callees[0].status is Status.COMPLETED and not fresh.works_about(callees[0].number):
            yield f"I8: invocation {callees[0].number} has ended without an answer to {sink}"


def _pin(entity: InvocationEntity) -> Iterator[str]:
    """I9: pinned if and only if there is a command beyond the input (a result of a step needs one)."""
    if bool(entity.deployment) != (entity.commands > 1):
        yield f"I9: invocation {entity.number} has {entity.commands} commands and is pinned to {entity.deployment}"
