"""Log records that a subscription filter of CloudWatch Logs passes on ("Subscriptions" in its guide)."""

from __future__ import annotations

import datetime as dt
import zlib
from typing import Any, ClassVar, Final

from perdure.aws_lambda.events.contents import decode_base64, decode_text, from_milliseconds
from perdure.aws_lambda.events.structure import AwsObject, Event
from perdure.aws_lambda.failures import PayloadError

__all__ = ["CloudWatchLogsData", "CloudWatchLogsEvent", "LogRecord", "LogRecords"]

_GZIP: Final = 16 + zlib.MAX_WBITS
_LIMIT: Final = 64 * 1024 * 1024  # bytes; a delivery holds 1 MiB of records, and gzip can inflate a thousandfold


class LogRecord(AwsObject, kw_only=True):
    """One record.

    Attributes:
        timestamp: milliseconds since 1970.
    """

    id: str
    timestamp: int
    message: str
    extracted_fields: dict[str, Any] | None = None

    @property
    def logged_at(self) -> dt.datetime:
        """When it was logged."""
        time = from_milliseconds(self.timestamp)
        assert time is not None
        return time


class LogRecords(AwsObject, kw_only=True):
    """Records of one stream.

    Attributes:
        message_type: `DATA_MESSAGE`, or `CONTROL_MESSAGE` when CloudWatch asks whether the function can be reached.
    """

    message_type: str
    owner: str
    log_group: str
    log_stream: str
    subscription_filters: list[str]
    log_events: list[LogRecord]


class CloudWatchLogsData(AwsObject, kw_only=True):
    """The records as they came.

    Attributes:
        data: JSON, compressed with gzip, in base64.
    """

    data: str

    def records(self) -> LogRecords:
        """Unpack the records.

        Raises:
            PayloadError: they are not what CloudWatch sends.
        """
        what = "the data of CloudWatch Logs"
        unzip = zlib.decompressobj(_GZIP)
        try:
            text = unzip.decompress(decode_base64(self.data, what=what), _LIMIT)
        except zlib.error as error:
            raise PayloadError(f"{what} is no gzip: {error}") from error
        if unzip.unconsumed_tail or not unzip.eof:
            raise PayloadError(f"{what} is cut off, or larger than {_LIMIT} bytes when unpacked")
        return decode_text(text, LogRecords, what=what)


class CloudWatchLogsEvent(Event, kw_only=True):
    """A delivery of log records."""

    source: ClassVar[str] = "CloudWatch Logs"

    awslogs: CloudWatchLogsData

    def records(self) -> LogRecords:
        """Unpack the records.

        Raises:
            PayloadError: they are not what CloudWatch sends.
        """
        return self.awslogs.records()
