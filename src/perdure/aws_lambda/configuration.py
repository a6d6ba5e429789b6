"""What the platform says about the function in environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from perdure.exceptions import UsageError

__all__ = ["FunctionConfig", "max_concurrency", "starts_from_snapshot"]


class FunctionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The function as it is deployed.

    Attributes:
        name: of the function.
        version: `$LATEST`, or the number of a published version.
        memory_mb: memory of the sandbox, in MiB.
        log_group: where its logs go, when the platform tells.
        log_stream: where the logs of this sandbox go, when the platform tells.
    """

    name: str = ""
    version: str = ""
    memory_mb: int = 0
    log_group: str | None = None
    log_stream: str | None = None

    @staticmethod
    def from_env(env: Mapping[str, str] | None = None) -> FunctionConfig:
        """Read the variables that Lambda sets for every function.

        Args:
            env: in place of the environment of this process.

        Raises:
            UsageError: one of them is missing or is no number; the message names it.
        """
        env = os.environ if env is None else env
        needed = ("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        if missing := [name for name in needed if not env.get(name)]:
            raise UsageError(
                f"the environment lacks {', '.join(missing)}: Lambda and its emulators set them. To run a handler "
                "elsewhere, call it with a LambdaEvent"
            )
        memory = env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        if not memory.isdecimal():
            raise UsageError(f"AWS_LAMBDA_FUNCTION_MEMORY_SIZE is {memory!r}, which is no number of MiB")
        return FunctionConfig(
            name=env["AWS_LAMBDA_FUNCTION_NAME"],
            version=env["AWS_LAMBDA_FUNCTION_VERSION"],
            memory_mb=int(memory),
            log_group=env.get("AWS_LAMBDA_LOG_GROUP_NAME"),
            log_stream=env.get("AWS_LAMBDA_LOG_STREAM_NAME"),
        )


def max_concurrency(env: Mapping[str, str] | None = None) -> int:
    """How many invocations the platform may give to this process at the same time; 1 when it does not say.

    Raises:
        UsageError: the variable `AWS_LAMBDA_MAX_CONCURRENCY` is no number from 1 on.
    """
    text = (os.environ if env is None else env).get("AWS_LAMBDA_MAX_CONCURRENCY", "").strip()
    if not text:
        return 1
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"AWS_LAMBDA_MAX_CONCURRENCY is {text!r}, which is no number from 1 on")
    return int(text)


def starts_from_snapshot(env: Mapping[str, str] | None = None) -> bool:
    """Whether the platform takes a snapshot of this process when it is initialised (SnapStart)."""
    return (os.environ if env is None else env).get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
