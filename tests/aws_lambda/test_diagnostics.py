"""What the platform is told about an error."""

from __future__ import annotations

import msgspec
import pytest

from perdure.aws_lambda import Diagnostic, FunctionError, PayloadError, diagnose
from perdure.aws_lambda.diagnostics import CAUSE_LIMIT, FRAME_LIMIT, MESSAGE_LIMIT, StackFrame


def raised(error: Exception) -> Exception:
    try:
        raise error  # noqa: TRY301 - so that it has a traceback
    except Exception as exc:  # noqa: BLE001 - it is returned
        return exc


def test_an_error_has_the_place_it_was_raised_at() -> None:
    found = diagnose(raised(ValueError("no")))
    assert (found.error_type, found.error_message) == ("ValueError", "no")
    assert found.frames[-1].label == "raised"
    assert found.frames[-1].source == "raise error  # noqa: TRY301 - so that it has a traceback"
    assert found.frames[-1].path == __file__


def test_an_error_that_was_never_raised_has_no_frames() -> None:
    assert diagnose(ValueError("no")).frames == ()


def test_a_group_of_one_is_that_one() -> None:
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [raised(KeyError("k"))])])
    assert diagnose(raised(group)).error_type == "KeyError"
    assert diagnose(raised(group)).frames[-1].source == "raise error  # noqa: TRY301 - so that it has a traceback"


def test_a_group_of_several_lists_them() -> None:
    found = diagnose(raised(ExceptionGroup("two", [ValueError("a"), KeyError("b")])))
    assert found.error_type == "ExceptionGroup"
    assert found.error_message == "two (2 sub-exceptions): ValueError: a; KeyError: 'b'"


def test_a_message_has_a_limit() -> None:
    assert len(diagnose(ValueError("x" * 10_000_000)).error_message) < MESSAGE_LIMIT + 100


def test_the_innermost_frames_are_reported() -> None:
    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise ValueError("deep")

    with pytest.raises(ValueError, match="deep") as caught:
        deep(3 * FRAME_LIMIT)
    assert len(diagnose(caught.value).frames) == FRAME_LIMIT


@pytest.mark.parametrize(
    ("error_type", "header"),
    [
        ("ValueError", "Function.ValueError"),
        ("my_error", "Function.My_error"),
        ("Runtime.UnmarshalError", "Runtime.UnmarshalError"),
        ("Function.Timeout", "Function.Timeout"),
        ("Größe", "Function.Gre"),
        ("_Hidden", "Function.Unknown"),
        ("", "Function.Unknown"),
        ("x\r\ny: z", "Function.Xyz"),
    ],
)
def test_the_header_is_one_that_the_platform_keeps(error_type: str, header: str) -> None:
    assert Diagnostic(error_type, "").header == header


def test_the_body_is_what_the_managed_runtime_writes() -> None:
    frame = StackFrame("/var/task/app.py", 7, "handler", "raise ValueError")
    assert msgspec.json.decode(Diagnostic("ValueError", "no", (frame,)).body("r-1")) == {
        "errorType": "ValueError",
        "errorMessage": "no",
        "stackTrace": ['  File "/var/task/app.py", line 7, in handler\n    raise ValueError\n'],
        "requestId": "r-1",
    }


def test_the_cause_for_xray_is_one_line_of_ascii() -> None:
    frames = (StackFrame("a.py", 1, "outer"), StackFrame("b.py", 2, "inner"))
    cause = Diagnostic("ValueError", "zu groß\nzwei", frames).xray_cause()
    assert cause is not None
    assert cause.isascii()
    assert cause.isprintable()
    (exception,) = msgspec.json.decode(cause)["exceptions"]
    assert exception["message"] == "zu groß\nzwei"
    assert [frame["label"] for frame in exception["stack"]] == ["inner", "outer"]
    assert msgspec.json.decode(cause)["paths"] == ["a.py", "b.py"]


def test_a_cause_that_is_too_large_is_left_out() -> None:
    assert Diagnostic("ValueError", "ß" * CAUSE_LIMIT).xray_cause() is None


def test_errors_of_the_function_name_their_type() -> None:
    assert diagnose(FunctionError("no")).error_type == "FunctionError"
    assert diagnose(FunctionError("no", error_type="SoldOut")).error_type == "SoldOut"
    assert diagnose(PayloadError("no")).header == "Runtime.UnmarshalError"
