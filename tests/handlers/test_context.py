from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from perdure.handlers import context as contexts
from perdure.handlers.calls import ExistingInvocation, InvocationHandle, SignalSender
from perdure.handlers.context import (
    Context,
    ObjectContext,
    SharedObjectContext,
    SharedWorkflowContext,
    WorkflowContext,
)
from perdure.handlers.invocation_context import InvocationContext
from perdure.handlers.invocations import ContextInvocation, ContextSignal, ContextTarget
from perdure.handlers.promise_handle import ContextPromise
from perdure.handlers.promises import DurablePromise

IMPLEMENTATIONS = [
    *((getattr(contexts, name), InvocationContext) for name in contexts.__all__),
    (InvocationHandle, ContextInvocation),
    (ExistingInvocation, ContextTarget),
    (SignalSender, ContextSignal),
    (DurablePromise, ContextPromise),
]


def members(protocol: type) -> Iterator[str]:
    for base in protocol.__mro__:
        if base.__module__.startswith("perdure."):
            yield from (name for name in vars(base) if not name.startswith("_"))


def offered(protocol: type) -> set[str]:
    return set(members(protocol))


@pytest.mark.parametrize(("protocol", "implementation"), IMPLEMENTATIONS)
def test_what_a_protocol_offers_is_there(protocol: type, implementation: type) -> None:
    assert {name for name in offered(protocol) if not hasattr(implementation, name)} == set()


@pytest.mark.parametrize(("protocol", "implementation"), IMPLEMENTATIONS)
def test_named_parameters_are_the_promised_ones(protocol: type, implementation: type) -> None:
    for name in offered(protocol):
        promised = inspect.getattr_static(protocol, name)
        if isinstance(promised, property):
            continue
        real = inspect.signature(getattr(implementation, name)).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in real):
            continue
        wanted = {p.name for p in inspect.signature(promised).parameters.values() if p.kind is p.KEYWORD_ONLY}
        assert wanted == {parameter.name for parameter in real if parameter.kind is parameter.KEYWORD_ONLY}, name


@pytest.mark.parametrize("protocol", [getattr(contexts, name) for name in contexts.__all__])
def test_every_member_says_what_it_does(protocol: type) -> None:
    for name in offered(protocol):
        assert inspect.getdoc(inspect.getattr_static(protocol, name)), name


def test_a_service_has_neither_key_nor_state_nor_promises() -> None:
    assert offered(Context).isdisjoint({"key", "get", "set", "clear", "clear_all", "state_keys", "promise"})


def test_a_shared_handler_reads_state_and_does_not_write_it() -> None:
    for protocol in (SharedObjectContext, SharedWorkflowContext):
        assert offered(protocol) >= {"key", "get", "state_keys"}
        assert offered(protocol).isdisjoint({"set", "clear", "clear_all"})


def test_a_handler_that_is_alone_with_its_key_writes_state() -> None:
    for protocol in (ObjectContext, WorkflowContext):
        assert offered(protocol) >= {"get", "set", "clear", "clear_all"}


def test_only_workflows_have_promises() -> None:
    assert [name for name in contexts.__all__ if "promise" in offered(getattr(contexts, name))] == [
        "SharedWorkflowContext",
        "WorkflowContext",
    ]
