"""Which id an invocation has, and the numbers derived from it.

An id is 24 bytes: a partition key (u64) and a unique number (u128), both big-endian. One file is one partition, so of
the partition key only stability matters; it still tells keys apart, as on restate-server.

Invocations with a natural name get their id from it, so that finding them needs no table: the run of a workflow by its
key, a request with an idempotency key by that. A call of a handler is named by its caller and the place of the command
in the caller's journal, below a time-ordered prefix that keeps inserts into the index of ids on one page.

Source of the names that are hashed: `crates/types/src/identifiers.rs` in restatedev/restate.
"""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["child_id", "idempotent_id", "random_seed", "request_id", "workflow_id"]

_PARTITION_BYTES: Final = 8
_UNIQUE_BYTES: Final = 16
_TIME_BYTES: Final = 6


def _partition(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=_PARTITION_BYTES).digest()


def _unique(kind: str, *parts: str) -> bytes:
    name = ",".join((kind, *parts))
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:_UNIQUE_BYTES]


def workflow_id(service: str, key: str) -> bytes:
    """The id of the run of a workflow."""
    return _partition(service, key) + _unique("wf", service, key)


def idempotent_id(service: str, key: str, handler: str, idempotency_key: str) -> bytes:
    """The id of an invocation with an idempotency key; `key` is `""` for services."""
    parts = (service, key, handler, idempotency_key) if key else (service, handler, idempotency_key)
    return _partition(service, key or idempotency_key) + _unique("ik", *parts)


def request_id(service: str, key: str, unique: bytes) -> bytes:
    """The id of an invocation that nothing names: `unique` is 16 bytes that nobody else has."""
    return (_partition(service, key) if key else _partition(service)) + unique


def child_id(service: str, key: str, caller: bytes, command: int, now: int) -> bytes:
    """The id of an invocation made by command number `command` of the invocation `caller`.

    Args:
        service: what is called.
        key: of the object or workflow, `""` without one.
        caller: id of the caller, 24 bytes.
        command: index of the command among the commands of the caller.
        now: milliseconds since the epoch, when the command is stored.
    """
    rest = hashlib.sha256(caller + command.to_bytes(8, "big")).digest()[: _UNIQUE_BYTES - _TIME_BYTES]
    return request_id(service, key, now.to_bytes(_TIME_BYTES, "big") + rest)


def random_seed(id: bytes) -> int:
    """The seed of an invocation's random numbers: the same in every attempt, another in every invocation."""
    return int.from_bytes(hashlib.sha256(b"random seed" + id).digest()[:8], "big")
