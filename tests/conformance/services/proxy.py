"""A service that calls whatever it is told to, with payloads that it does not read."""

from __future__ import annotations

from perdure import CallFuture, Context, InvocationHandle, Service
from tests.conformance.services.payloads import ByteList, JsonObject, Milliseconds

__all__ = ["proxy"]

proxy = Service("Proxy")


class ProxyRequest(JsonObject, frozen=True):
    service_name: str
    handler_name: str
    message: ByteList
    virtual_object_key: str | None = None
    delay_millis: Milliseconds | None = None
    idempotency_key: str | None = None
    scope: str | None = None
    limit_key: str | None = None

    def call(self, ctx: Context) -> CallFuture[bytes]:
        return ctx.generic_call(
            self.service_name,
            self.handler_name,
            bytes(self.message),
            key=self.virtual_object_key,
            idempotency_key=self.idempotency_key,
            scope=self.scope,
            limit_key=self.limit_key,
        )

    def send(self, ctx: Context) -> InvocationHandle[bytes]:
        return ctx.generic_send(
            self.service_name,
            self.handler_name,
            bytes(self.message),
            key=self.virtual_object_key,
            delay=None if self.delay_millis is None else self.delay_millis / 1000,
            idempotency_key=self.idempotency_key,
            scope=self.scope,
            limit_key=self.limit_key,
        )


class ManyCallsRequest(JsonObject, frozen=True):
    proxy_request: ProxyRequest
    one_way_call: bool = False
    await_at_the_end: bool = False


@proxy.handler
async def call(ctx: Context, request: ProxyRequest) -> ByteList:
    return list(await request.call(ctx))


@proxy.handler(name="oneWayCall")
async def one_way_call(ctx: Context, request: ProxyRequest) -> str:
    return await request.send(ctx).invocation_id


@proxy.handler(name="manyCalls")
async def many_calls(ctx: Context, requests: list[ManyCallsRequest]) -> None:
    kept: list[CallFuture[bytes]] = []
    for each in requests:
        if each.one_way_call:
            each.proxy_request.send(ctx)
            continue
        started = each.proxy_request.call(ctx)
        if each.await_at_the_end:
            kept.append(started)
    await ctx.gather(*kept)
