"""What an attempt begins with: the handler or where it is, the start message, the entries that are replayed.

It is put together when the start is released, so all of it is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from perdure.engine.naming import random_seed
from perdure.engine.remote.deployments import Remote, RemoteDeployments
from perdure.engine.rows import Kind
from perdure.wire.ids import format_invocation_id
from perdure.wire.messages import ErrorMessage, Message, StartMessage, StateEntry

if TYPE_CHECKING:
    from perdure.engine.outputs import StartAttempt
    from perdure.engine.storage.reader import StoreReader
    from perdure.engine.view import View
    from perdure.handlers.registry import BoundHandler, Registry

__all__ = ["Launch", "launch"]


class Launch(msgspec.Struct, frozen=True):
    """Everything an attempt needs to begin.

    Attributes:
        bound: the handler, or where it is.
        start: the start message.
        prefix: the entries that are replayed.
        inactivity: seconds without a message until it is asked to suspend.
        abort: seconds after that until it is broken off.
    """

    bound: BoundHandler[Any] | Remote
    start: StartMessage
    prefix: Sequence[Message]
    inactivity: float
    abort: float


def launch(
    order: StartAttempt, view: View, reader: StoreReader, registry: Registry, remote: RemoteDeployments
) -> Launch | ErrorMessage | None:
    """What is needed for a start, `None` when it is no longer wanted; an error when there is no such handler."""
    invocation = view.invocation(order.number)
    live = view.live(order.number)
    if invocation is None or live is None or live.attempt != order.attempt:
        return None
    deployment = view.deployment(order.deployment)
    bound: BoundHandler[Any] | Remote | None
    if deployment is not None and deployment.uri is not None:
        bound = remote.remote(deployment, invocation, order.protocol)
    else:
        bound = registry.lookup(invocation.service, invocation.handler)
    service = view.service(invocation.service)
    options = service.handlers.get(invocation.handler) if service is not None else None
    if bound is None or options is None:
        return ErrorMessage(
            404, f"this program has no handler {invocation.service}/{invocation.handler}: it went on without it"
        )
    prefix: Sequence[Message] = (
        order.entries if order.entries is not None else reader.entries(order.number, 0, order.length)
    )
    kind, key = invocation.kind, invocation.key
    # What a shared handler reads may be another value in the next attempt: it asks, and the answer is journaled.
    partial = kind is Kind.SERVICE or kind is Kind.SHARED or options.lazy_state
    state: tuple[StateEntry, ...] = ()
    if not partial:
        state = tuple(StateEntry(name, value) for name, value in reader.state_entries(invocation.service, key))
    start = StartMessage(
        id=invocation.id,
        debug_id=format_invocation_id(invocation.id),
        known_entries=order.length,
        state_map=state,
        partial_state=partial,
        key=key,
        retry_count_since_last_stored_entry=order.retries,
        duration_since_last_stored_entry=order.stalled,
        random_seed=random_seed(invocation.id),
        idempotency_key=invocation.idempotency_key,
    )
    return Launch(bound, start, prefix, options.inactivity_timeout / 1000, options.abort_timeout / 1000)
