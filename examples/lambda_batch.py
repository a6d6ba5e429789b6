"""AWS Lambda: a batch of messages of a queue, of which only those that failed are sent again.

The event source mapping needs `ReportBatchItemFailures`.
"""

from __future__ import annotations

import msgspec

from perdure.aws_lambda import LambdaEvent, main
from perdure.aws_lambda.events import BatchResponse, SqsEvent, SqsRecord, process_batch


class Loan(msgspec.Struct):
    """What a message says."""

    book: str
    days: int


async def lend(message: SqsRecord) -> None:
    """Lend one book; what is raised here has this message sent again, and no other."""
    loan = message.json(Loan)
    if loan.days > 28:  # noqa: PLR2004 - four weeks
        raise ValueError(f"{loan.book} cannot be lent for {loan.days} days")


async def handler(event: LambdaEvent[SqsEvent]) -> BatchResponse:
    """Lend the books of a batch, five at a time."""
    return await process_batch(event.payload.records, lend, concurrency=5)


if __name__ == "__main__":
    main(handler)
