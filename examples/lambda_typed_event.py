"""AWS Lambda: a typed event. Books that are put into a bucket are catalogued.

The annotation chooses the class; an event of another source is refused with an error that names the field.
"""

from __future__ import annotations

import msgspec

from perdure.aws_lambda import LambdaEvent, main
from perdure.aws_lambda.events import S3Event


class Entry(msgspec.Struct):
    """One line of the catalogue."""

    title: str
    shelf: str
    size: int


async def catalogue(event: LambdaEvent[S3Event]) -> list[Entry]:
    """Return an entry for each new object."""
    return [
        Entry(title=record.s3.object.name, shelf=record.s3.bucket.name, size=record.s3.object.size or 0)
        for record in event.payload.records
        if record.event_name.startswith("ObjectCreated:")
    ]


if __name__ == "__main__":
    main(catalogue)
