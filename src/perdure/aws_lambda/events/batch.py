"""Partial batch responses: which messages of a batch failed, so that only these are sent again.

For SQS, Kinesis and DynamoDB, when the event source mapping has `ReportBatchItemFailures`. What counts as failed
besides the messages whose handler raised follows from what Lambda promises about their order:

* standard queues promise none: every message is handled;
* in a FIFO queue the messages of a group that follow a failed one are reported with it, and not handled;
* in a stream nothing behind the first failure is handled: Lambda starts again there.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeAlias, TypeVar

import anyio
import msgspec

from perdure.aws_lambda.events.dynamodb import DynamoDbRecord
from perdure.aws_lambda.events.kinesis import KinesisRecord
from perdure.aws_lambda.events.sqs import SqsRecord

__all__ = ["BatchRecord", "BatchResponse", "ItemFailure", "process_batch"]

BatchRecord: TypeAlias = SqsRecord | KinesisRecord | DynamoDbRecord
"""A record of a batch that can fail in part."""

R = TypeVar("R", SqsRecord, KinesisRecord, DynamoDbRecord)

logger: Final = logging.getLogger("perdure.aws_lambda")


class ItemFailure(msgspec.Struct, frozen=True, rename="camel"):
    """One message that failed, by the identifier that its source has for it."""

    item_identifier: str


class BatchResponse(msgspec.Struct, rename="camel"):
    """What a function answers for a batch. Without failures the whole batch is done."""

    batch_item_failures: list[ItemFailure] = msgspec.field(default_factory=list)

    def add_failure(self, record: BatchRecord | str) -> None:
        """Name a message that failed.

        Args:
            record: the message, or its identifier: the message id in SQS, the sequence number in a stream.
        """
        name = record if isinstance(record, str) else _identifier(record)
        self.batch_item_failures.append(ItemFailure(item_identifier=name))


def _identifier(record: BatchRecord) -> str:
    match record:
        case SqsRecord():
            return record.message_id
        case KinesisRecord():
            return record.kinesis.sequence_number
        case DynamoDbRecord():
            # Without one Lambda reads the empty name, which means: all of the batch again.
            return record.dynamodb.sequence_number or ""


async def process_batch(
    records: Iterable[R], handler: Callable[[R], Awaitable[object]], *, concurrency: int = 1
) -> BatchResponse:
    """Give each message to a handler, and name those that have to be sent again.

    Whatever the handler raises is logged with its traceback, since the invocation itself succeeds. Cancellation is
    not a failure of a message; it goes through.

    Args:
        records: the messages.
        handler: called with one message.
        concurrency: how many messages are handled at the same time. Streams, and the messages of one group of a FIFO
            queue, are handled one after the other all the same.

    Returns:
        The answer of the function: failures in the order of the batch.
    """
    if concurrency < 1:
        raise ValueError(f"a concurrency of {concurrency} would handle nothing; the least is 1")
    batch = list(records)
    failed: set[int] = set()
    limiter = anyio.Semaphore(concurrency)

    async def handle(group: Sequence[tuple[int, R]]) -> None:
        async with limiter:
            for place, (_, record) in enumerate(group):
                try:
                    await handler(record)
                except Exception:
                    logger.exception("a message failed and will be sent again: %s", _identifier(record))
                    failed.update(later for later, _ in group[place:])
                    return

    async with anyio.create_task_group() as tasks:
        for group in _in_order(batch):
            tasks.start_soon(handle, group)
    answer = BatchResponse()
    for index in sorted(failed):
        answer.add_failure(batch[index])
    return answer


def _in_order(batch: Sequence[R]) -> Iterable[Sequence[tuple[int, R]]]:
    """The messages that must be handled one after the other, with their places in the batch."""
    groups: dict[object, list[tuple[int, R]]] = {}
    for index, record in enumerate(batch):
        group: object = "the stream"
        if isinstance(record, SqsRecord):
            group = record.attributes.message_group_id or index
        groups.setdefault(group, []).append((index, record))
    return groups.values()
