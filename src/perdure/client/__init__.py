"""Edge: calls from outside. A typed client of the ingress HTTP API, over a small HTTP/1.1 client of its own.

From the bottom up: `connection` and `pool` know HTTP and nothing of Restate (other edges use them too); `targets` and
`failures` are the ingress API as pure functions; `exchange` asks on bytes; `invocation` and `ingress` are what users
see, typed by handler objects.
"""

from __future__ import annotations

from perdure.client.ingress import Client
from perdure.client.invocation import IngressInvocation, SentInvocation

__all__ = ["Client", "IngressInvocation", "SentInvocation"]
