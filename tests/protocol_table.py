"""The service protocol, versions 5 to 7, as one literal: what `perdure.wire.messages` is compared with.

Written down from `protocol.proto` and `header.rs` of restatedev/sdk-shared-core, and deliberately not made from the
code, so that a number changed by mistake meets a number that was not. Attribute names are perdure's.

A line of a message is: field number, presence, type, attribute. Presence is `implicit` (left out when it is the
default), `optional` (proto3 `optional`; every nested message), `repeated`, or `oneof`. `as X` names the struct that
holds a scalar arm of a oneof in Python. `since` is the protocol version that brought the field. A `flag` travels in the
header of the frame.

Two notifications, `CallInvocationIdCompletion` and `GetLazyStateKeysCompletion`, follow `NotificationTemplate`, where
their result is an arm of a oneof; as a single field it looks the same on the wire.
"""

from __future__ import annotations

from typing import NamedTuple

TABLE = """
message 0x0000 StartMessage
    1   implicit    bytes                       id
    2   implicit    string                      debug_id
    3   implicit    uint32                      known_entries
    4   repeated    StateEntry                  state_map
    5   implicit    bool                        partial_state
    6   implicit    string                      key
    7   implicit    uint32                      retry_count_since_last_stored_entry
    8   implicit    uint64                      duration_since_last_stored_entry
    9   implicit    uint64                      random_seed                             since 6
    10  optional    string                      scope                                   since 7
    11  optional    string                      limit_key                               since 7
    12  optional    string                      idempotency_key                         since 7

message 0x0001 SuspensionMessage
    1   repeated    uint32                      waiting_completions
    2   repeated    uint32                      waiting_signals
    3   repeated    string                      waiting_named_signals
    4   optional    Future                      awaiting_on                             since 7

message 0x0002 ErrorMessage
    1   implicit    uint32                      code
    2   implicit    string                      message
    3   implicit    string                      stacktrace
    4   optional    uint32                      related_command_index
    5   optional    string                      related_command_name
    6   optional    uint32                      related_command_type
    8   optional    uint64                      next_retry_delay
    9   implicit    ErrorBehavior               behavior                                since 7

message 0x0003 EndMessage

message 0x0004 CommandAckMessage
    1   implicit    uint32                      command_index

message 0x0005 ProposeRunCompletionMessage
    1   implicit    uint32                      result_completion_id
    14  oneof       bytes                       result                                  as Value
    15  oneof       Failure                     result
    flag 0x8000                                 requested_ack

message 0x0006 AwaitingOnMessage
    1   optional    Future                      awaiting_on
    2   implicit    bool                        executing_side_effects

message 0x0007 ProposeRunCompletionAckMessage
    1   implicit    uint32                      completion_id

message 0x0400 InputCommand
    1   repeated    Header                      headers
    12  implicit    string                      name
    14  optional    Value                       value

message 0x0401 OutputCommand
    12  implicit    string                      name
    14  oneof       Value                       result
    15  oneof       Failure                     result

message 0x0402 GetLazyStateCommand
    1   implicit    bytes                       key
    11  implicit    uint32                      result_completion_id
    12  implicit    string                      name

message 0x8002 GetLazyStateCompletion
    1   implicit    uint32                      completion_id
    4   oneof       Void                        result
    5   oneof       Value                       result

message 0x0403 SetStateCommand
    1   implicit    bytes                       key
    3   optional    Value                       value
    12  implicit    string                      name

message 0x0404 ClearStateCommand
    1   implicit    bytes                       key
    12  implicit    string                      name

message 0x0405 ClearAllStateCommand
    12  implicit    string                      name

message 0x0406 GetLazyStateKeysCommand
    11  implicit    uint32                      result_completion_id
    12  implicit    string                      name

message 0x8006 GetLazyStateKeysCompletion
    1   implicit    uint32                      completion_id
    17  optional    StateKeys                   result

message 0x0407 GetEagerStateCommand
    1   implicit    bytes                       key
    12  implicit    string                      name
    13  oneof       Void                        result
    14  oneof       Value                       result

message 0x0408 GetEagerStateKeysCommand
    12  implicit    string                      name
    14  optional    StateKeys                   value

message 0x0409 GetPromiseCommand
    1   implicit    string                      key
    11  implicit    uint32                      result_completion_id
    12  implicit    string                      name

message 0x8009 GetPromiseCompletion
    1   implicit    uint32                      completion_id
    5   oneof       Value                       result
    6   oneof       Failure                     result

message 0x040A PeekPromiseCommand
    1   implicit    string                      key
    11  implicit    uint32                      result_completion_id
    12  implicit    string                      name

message 0x800A PeekPromiseCompletion
    1   implicit    uint32                      completion_id
    4   oneof       Void                        result
    5   oneof       Value                       result
    6   oneof       Failure                     result

message 0x040B CompletePromiseCommand
    1   implicit    string                      key
    2   oneof       Value                       completion
    3   oneof       Failure                     completion
    11  implicit    uint32                      result_completion_id
    12  implicit    string                      name

message 0x800B CompletePromiseCompletion
    1   implicit    uint32                      completion_id
    4   oneof       Void                        result
    6   oneof       Failure                     result

message 0x040C SleepCommand
    1   implicit    uint64                      wake_up_time
    11  implicit    uint32                      result_completion_id
    12  implicit    string                      name

message 0x800C SleepCompletion
    1   implicit    uint32                      completion_id
    4   optional    Void                        result

message 0x040D CallCommand
    1   implicit    string                      service_name
    2   implicit    string                      handler_name
    3   implicit    bytes                       parameter
    4   repeated    Header                      headers
    5   implicit    string                      key
    6   optional    string                      idempotency_key
    7   optional    string                      scope                                   since 7
    8   optional    string                      limit_key                               since 7
    10  implicit    uint32                      invocation_id_notification_idx
    11  implicit    uint32                      result_completion_id
    12  implicit    string                      name

message 0x800D CallCompletion
    1   implicit    uint32                      completion_id
    5   oneof       Value                       result
    6   oneof       Failure                     result

message 0x800E CallInvocationIdCompletion
    1   implicit    uint32                      completion_id
    16  oneof       string                      result                                  as InvocationId

message 0x040E OneWayCallCommand
    1   implicit    string                      service_name
    2   implicit    string                      handler_name
    3   implicit    bytes                       parameter
    4   implicit    uint64                      invoke_time
    5   repeated    Header                      headers
    6   implicit    string                      key
    7   optional    string                      idempotency_key
    8   optional    string                      scope                                   since 7
    9   optional    string                      limit_key                               since 7
    10  implicit    uint32                      invocation_id_notification_idx
    12  implicit    string                      name

message 0x0410 SendSignalCommand
    1   implicit    string                      target_invocation_id
    2   oneof       uint32                      signal                                  as int
    3   oneof       string                      signal                                  as str
    4   oneof       Void                        result
    5   oneof       Value                       result
    6   oneof       Failure                     result
    12  implicit    string                      name

message 0x0411 RunCommand
    11  implicit    uint32                      result_completion_id
    12  implicit    string                      name

message 0x8011 RunCompletion
    1   implicit    uint32                      completion_id
    5   oneof       Value                       result
    6   oneof       Failure                     result

message 0x0412 AttachInvocationCommand
    1   oneof       string                      target                                  as InvocationId
    3   oneof       IdempotentRequestTarget     target
    4   oneof       WorkflowTarget              target
    11  implicit    uint32                      result_completion_id
    12  implicit    string                      name

message 0x8012 AttachInvocationCompletion
    1   implicit    uint32                      completion_id
    5   oneof       Value                       result
    6   oneof       Failure                     result

message 0x0413 GetInvocationOutputCommand
    1   oneof       string                      target                                  as InvocationId
    3   oneof       IdempotentRequestTarget     target
    4   oneof       WorkflowTarget              target
    11  implicit    uint32                      result_completion_id
    12  implicit    string                      name

message 0x8013 GetInvocationOutputCompletion
    1   implicit    uint32                      completion_id
    4   oneof       Void                        result
    5   oneof       Value                       result
    6   oneof       Failure                     result

message 0x0414 CompleteAwakeableCommand
    1   implicit    string                      awakeable_id
    2   oneof       Value                       result
    3   oneof       Failure                     result
    12  implicit    string                      name

message 0xFBFF SignalNotification
    2   oneof       uint32                      signal                                  as int
    3   oneof       string                      signal                                  as str
    4   oneof       Void                        result
    5   oneof       Value                       result
    6   oneof       Failure                     result

part Void

part Value
    1   implicit    bytes                       content

part FailureMetadata
    1   implicit    string                      key
    2   implicit    string                      value

part Failure
    1   implicit    uint32                      code
    2   implicit    string                      message
    3   repeated    FailureMetadata             metadata                                since 6

part StateKeys
    1   repeated    bytes                       keys

part WorkflowTarget
    1   implicit    string                      workflow_name
    2   implicit    string                      workflow_key
    3   optional    string                      scope                                   since 7

part IdempotentRequestTarget
    1   implicit    string                      service_name
    2   optional    string                      service_key
    3   implicit    string                      handler_name
    4   implicit    string                      idempotency_key
    5   optional    string                      scope                                   since 7

part Header
    1   implicit    string                      key
    2   implicit    string                      value

part StateEntry
    1   implicit    bytes                       key
    2   implicit    bytes                       value

part Future
    1   repeated    uint32                      waiting_completions
    2   repeated    uint32                      waiting_signals
    3   repeated    string                      waiting_named_signals
    4   repeated    Future                      nested_futures
    5   implicit    CombinatorType              combinator_type

enum CombinatorType
    0   UNKNOWN
    1   FIRST_COMPLETED
    2   ALL_COMPLETED
    3   FIRST_SUCCEEDED_OR_ALL_FAILED
    4   ALL_SUCCEEDED_OR_FIRST_FAILED

enum ErrorBehavior
    0   RETRY
    1   PAUSE
    2   FAIL
"""


class FieldLine(NamedTuple):
    """A field of the table."""

    number: int
    presence: str
    type: str
    attribute: str
    since: int = 5
    wrapper: str = ""


class Shape(NamedTuple):
    """A message or a part of the table; parts have no type code."""

    type_code: int | None
    fields: tuple[FieldLine, ...]
    flags: tuple[tuple[int, str], ...] = ()


def _parse() -> tuple[dict[str, Shape], dict[str, dict[int, str]]]:
    shapes: dict[str, Shape] = {}
    enums: dict[str, dict[int, str]] = {}
    for block in TABLE.strip().split("\n\n"):
        head, *lines = (line.split() for line in block.splitlines())
        if head[0] == "enum":
            enums[head[1]] = {int(number): name for number, name in lines}
            continue
        flags = tuple((int(line[1], 16), line[2]) for line in lines if line[0] == "flag")
        fields = tuple(_parse_field(line) for line in lines if line[0] != "flag")
        shapes[head[-1]] = Shape(int(head[1], 16) if head[0] == "message" else None, fields, flags)
    return shapes, enums


def _parse_field(line: list[str]) -> FieldLine:
    number, presence, kind, attribute, *rest = line
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    return FieldLine(int(number), presence, kind, attribute, int(options.get("since", 5)), options.get("as", ""))


SHAPES, ENUMS = _parse()
