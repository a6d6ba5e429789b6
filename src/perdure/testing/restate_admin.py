"""The parts of the restate-server's admin and ingress APIs that a test needs, blocking.

Not a client for production: `perdure.Client` is the typed client of the ingress. Here are registration, SQL over what
the server stores, the operations on an invocation, and waiting.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any, Final

from perdure.testing.child_process import HarnessError
from perdure.testing.loopback import Answer, exchange

__all__ = ["AdminError", "RestateAdmin"]

POLL_SECONDS: Final = 0.01
_JSON: Final = {"content-type": "application/json", "accept": "application/json"}
# Statuses of an ingress that has not heard of the service yet, or does not know where its partition is.
_NOT_YET: Final = frozenset({404, 429, 503})
PATIENCE_SECONDS: Final[float] = 10.0
"""For how long an admin request is sent again while the partition it concerns changes its leader (status 503)."""


class AdminError(HarnessError):
    """The admin API refused a request.

    Attributes:
        status: the HTTP status.
        body: the answer, mostly a JSON object with ``message`` and ``restate_code``.
    """

    def __init__(self, request: str, answer: Answer) -> None:
        self.status: int = answer.status
        self.body: bytes = answer.body
        super().__init__(f"{request} was answered with {answer.status}: {answer.body.decode(errors='replace')}")


class RestateAdmin:
    """A restate-server that runs at the two addresses (``http://host:port``, no slash at the end)."""

    def __init__(self, *, admin_url: str, ingress_url: str) -> None:
        self.admin_url = admin_url
        self.ingress_url = ingress_url

    def register(
        self,
        uri: str,
        *,
        use_http_11: bool = False,
        force: bool = True,
        additional_headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Register the endpoint at `uri` and return the server's description of the deployment.

        Args:
            uri: the base address of the endpoint, which must run: the server asks it for its manifest now.
            use_http_11: speak HTTP/1.1 to it (request/response mode) and not HTTP/2 with prior knowledge.
            force: read the manifest again when the address is already known.
            additional_headers: sent by the server with every request to the endpoint.

        Raises:
            AdminError: the endpoint does not answer, or its manifest is refused.
        """
        request: dict[str, Any] = {"uri": uri, "use_http_11": use_http_11, "force": force}
        if additional_headers:
            request["additional_headers"] = dict(additional_headers)
        deployment: dict[str, Any] = json.loads(self._admin("POST", "/deployments", request))
        return deployment

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Run a SQL query over the server's own tables (``sys_invocation``, ``sys_journal``, ``state``...).

        A column that is null is missing in its row; binary columns are hexadecimal text.

        Raises:
            AdminError: the query does not parse, or names something that does not exist.
        """
        rows: list[dict[str, Any]] = json.loads(self._admin("POST", "/query", {"query": sql}))["rows"]
        return rows

    def invocation(self, invocation_id: str) -> dict[str, Any] | None:
        """Return the row of ``sys_invocation`` for this invocation, or None if the server does not know it."""
        wanted = _quoted(invocation_id)
        rows = self.query(f"SELECT * FROM sys_invocation WHERE id = {wanted}")  # noqa: S608 (quoted)
        return rows[0] if rows else None

    def journal(self, invocation_id: str) -> list[dict[str, Any]]:
        """Return the rows of ``sys_journal`` for this invocation, in order."""
        wanted = _quoted(invocation_id)
        return self.query(f'SELECT * FROM sys_journal WHERE id = {wanted} ORDER BY "index"')  # noqa: S608 (quoted)

    def cancel(self, invocation_id: str) -> None:
        """Ask the invocation to end: its handler sees the cancellation and may compensate.

        Raises:
            AdminError: status 404, the server does not know it; 409, it has ended. The same for the methods below.
        """
        self._operate(invocation_id, "cancel")

    def kill(self, invocation_id: str) -> None:
        """End the invocation and all it called at once; its handler is not asked."""
        self._operate(invocation_id, "kill")

    def pause(self, invocation_id: str) -> None:
        """Stop trying the invocation until it is resumed."""
        self._operate(invocation_id, "pause")

    def resume(self, invocation_id: str) -> None:
        """Go on with a paused invocation, or end the waiting of one that backs off after an error."""
        self._operate(invocation_id, "resume")

    def call(
        self,
        path: str,
        payload: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        """Send a POST to the ingress and return the answer whatever its status is.

        Args:
            path: as in ``/Greeter/greet``, ``/Counter/some-key/add``, with ``/send`` behind it for a one-way call.
            payload: sent as JSON unless `headers` hold another ``content-type``; empty sends no content type at all.
            headers: further headers, names in lower case.
            timeout: seconds without a byte after which the call is given up (a paused invocation never answers).

        Raises:
            TimeoutError: no answer within `timeout`.
        """
        sent = {"content-type": "application/json"} if payload else {}
        sent.update(headers or {})
        return exchange("POST", self.ingress_url + path, body=payload, headers=sent, timeout=timeout)

    def wait_until_callable(self, path: str, payload: bytes = b"", *, timeout: float = 30.0) -> Answer:
        """Call a handler until the ingress lets the call through, and return the first answer of the handler itself.

        Between registration and the first call there are moments in which the ingress does not know the service, or not
        where its partition is; these answers (404, 429, 503) and refused connections are tried again.

        Args:
            path: see `call`; a harmless handler, since it runs.
            payload: its input as JSON.
            timeout: seconds, for all tries together.

        Raises:
            HarnessError: no call was let through within `timeout`.
        """
        deadline = time.monotonic() + timeout
        last: object = "nothing was tried"
        while (left := deadline - time.monotonic()) > 0:
            try:
                answer = self.call(path, payload, timeout=left)
            except (OSError, http.client.HTTPException) as error:
                last = error
            else:
                if answer.status not in _NOT_YET or answer.headers.get("x-restate-error-source") == "invocation":
                    return answer
                last = answer
            time.sleep(POLL_SECONDS)
        raise HarnessError(f"{path} could not be called within {timeout} seconds; last: {last!r}")

    def wait_for_status(self, invocation_id: str, *statuses: str, timeout: float = 30.0) -> dict[str, Any]:
        """Wait until the invocation has one of the statuses and return its row of ``sys_invocation``.

        Args:
            invocation_id: it may not be known yet.
            statuses: of ``scheduled``, ``pending``, ``ready``, ``running``, ``backing-off``, ``suspended``, ``paused``,
                ``completed``.
            timeout: seconds.

        Raises:
            HarnessError: it had none of them within `timeout`; the message holds the last row.
        """
        deadline = time.monotonic() + timeout
        while True:
            row = self.invocation(invocation_id)
            if row is not None and row["status"] in statuses:
                return row
            if time.monotonic() > deadline:
                wanted = " or ".join(statuses)
                raise HarnessError(f"{invocation_id} was not {wanted} within {timeout} seconds; last: {row!r}")
            time.sleep(POLL_SECONDS)

    def _operate(self, invocation_id: str, operation: str) -> None:
        self._admin("PATCH", f"/invocations/{urllib.parse.quote(invocation_id, safe='')}/{operation}")

    def _admin(self, method: str, path: str, request: Mapping[str, Any] | None = None) -> bytes:
        body = None if request is None else json.dumps(request).encode()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = exchange(
                    method, self.admin_url + path, body=body, headers=_JSON if body else None, timeout=30.0
                )
            except (OSError, http.client.HTTPException) as error:
                raise HarnessError(
                    f"the admin API at {self.admin_url} did not answer {method} {path}: {error}"
                ) from error
            if answer.status != http.HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
        if not http.HTTPStatus.OK <= answer.status < http.HTTPStatus.MULTIPLE_CHOICES:
            raise AdminError(f"{method} {path}", answer)
        return answer.body


def _quoted(text: str) -> str:
    """Write text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"
