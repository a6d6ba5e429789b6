"""AWS Lambda: a program for /opt/extensions that reads the platform's telemetry and adds up what was billed.

A delivery whose processor raises is sent again. It must not log what it is sent if it takes the type `extension`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio

from perdure.aws_lambda.extensions import (
    Buffering,
    Extension,
    ExtensionEvent,
    Report,
    ShutdownEvent,
    Subscription,
    TelemetryRecord,
    run_extension,
)


class Bill:
    """Milliseconds that were billed."""

    def __init__(self) -> None:
        self.milliseconds = 0.0

    async def read(self, records: Sequence[TelemetryRecord]) -> None:
        """Take one delivery."""
        for each in records:
            if isinstance(each.record, Report):
                self.milliseconds += each.record.metrics.billed_duration_ms or 0

    async def show(self, event: ExtensionEvent) -> None:
        """Show the sum when the sandbox ends."""
        if isinstance(event, ShutdownEvent):
            print(f"billed: {self.milliseconds:g} ms")


def extension(bill: Bill, *, host: str = "0.0.0.0") -> Extension:  # noqa: S104 - the platform must reach it
    """Make the extension."""
    subscription = Subscription(types=["platform"], buffering=Buffering(timeout_ms=100))
    return Extension(bill.show, on_telemetry=bill.read, telemetry=subscription, host=host)


if __name__ == "__main__":
    anyio.run(partial(run_extension, extension(Bill())))
