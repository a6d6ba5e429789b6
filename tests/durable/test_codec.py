from __future__ import annotations

import functools
import secrets
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.durable.codec import PLAIN, CodedSerde, Serdes
from perdure.durable.serde import JSON, OCTET_STREAM, Serde, decode_value, serde_for
from perdure.exceptions import SerdeError, UsageError


class Zlib:
    content_type = "application/zlib"
    stable = True

    def encode(self, data: bytes, /) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes, /) -> bytes:
        try:
            return zlib.decompress(data)
        except zlib.error as error:
            raise ValueError(f"not compressed: {error}") from error


class Pad:
    """A one-time pad that travels along: never the same bytes twice."""

    content_type = OCTET_STREAM
    stable = False

    def encode(self, data: bytes, /) -> bytes:
        pad = secrets.token_bytes(len(data))
        return pad + bytes(a ^ b for a, b in zip(data, pad, strict=True))

    def decode(self, data: bytes, /) -> bytes:
        half = len(data) // 2
        return bytes(a ^ b for a, b in zip(data[:half], data[half:], strict=True))


class Mark:
    content_type = ""
    stable = True

    def encode(self, data: bytes, /) -> bytes:
        return b" " + data

    def decode(self, data: bytes, /) -> bytes:
        return data[1:]


@given(st.dictionaries(st.text(), st.integers()))
def test_a_coded_value_comes_back(value: dict[str, int]) -> None:
    for codec in (Zlib(), Pad(), Mark(), PLAIN):
        serde = CodedSerde(serde_for(dict[str, int]), codec)
        assert serde.decode(serde.encode(value)) == value


def test_the_codec_sees_what_the_serde_wrote() -> None:
    assert zlib.decompress(Serdes(codec=Zlib()).of(list[int]).encode([1, 2])) == b"[1,2]"


def test_media_type_and_schema_are_those_of_the_codec() -> None:
    coded = Serdes(codec=Zlib()).of(int)
    assert coded.content_type == "application/zlib"
    assert coded.schema() is None


def test_a_codec_without_a_media_type_keeps_media_type_and_schema() -> None:
    coded = Serdes(codec=Mark()).of(int)
    assert coded.content_type == JSON
    assert coded.schema() == {"type": "integer"}


def test_bytes_are_stable_only_where_serde_and_codec_are() -> None:
    assert Serdes(codec=Zlib()).of(int).stable
    assert not Serdes(codec=Pad()).of(int).stable
    assert not CodedSerde(Unstable(), Zlib()).stable


class Unstable(Serde[int]):
    content_type = JSON

    def encode(self, value: int, /) -> bytes:
        return b"%d" % value

    def decode(self, data: bytes, /) -> int:
        return int(data)


def test_nothing_stays_nothing_under_a_codec() -> None:
    serdes = Serdes(codec=Zlib())
    assert serdes.of(None).encode(None) == b""
    assert serdes.of(None).content_type == ""
    assert serdes.of(int | None).decode(b"") is None
    assert serdes.of(int | None).accepts_empty


def test_bytes_that_are_not_the_codecs_own_are_a_serde_error() -> None:
    with pytest.raises(SerdeError, match=r"the input of Shop/checkout cannot be read as int in .*: not compressed"):
        decode_value(Serdes(codec=Zlib()).of(int), b"5", "the input of Shop/checkout")


def test_without_a_codec_the_serde_is_the_factorys_own() -> None:
    assert Serdes().of(int) is serde_for(int)
    assert Serdes(codec=PLAIN).of(int) is serde_for(int)


def test_a_coded_serde_shows_what_it_is_made_of() -> None:
    assert repr(CodedSerde(serde_for(int), PLAIN)) == "int in perdure.PLAIN"


def test_a_serde_of_the_user_is_coded_too() -> None:
    coded = Serdes(codec=Zlib()).coded(Unstable())
    assert zlib.decompress(coded.encode(5)) == b"5"


def test_a_serde_that_has_its_codec_keeps_it() -> None:
    given_serde = CodedSerde(serde_for(int), PLAIN)
    assert Serdes(codec=Zlib()).coded(given_serde) is given_serde


def test_a_factory_of_the_user_chooses() -> None:
    asked: list[Any] = []

    def factory(annotation: Any) -> Serde[Any]:
        asked.append(annotation)
        return Unstable()

    serdes = Serdes(factory, Zlib())
    assert zlib.decompress(serdes.of(int).encode(5)) == b"5"
    assert serdes.of(int) is serdes.of(int)
    assert asked == [int]


def test_an_annotation_that_cannot_be_hashed_is_asked_for_each_time() -> None:
    from typing import Annotated  # noqa: PLC0415 - used here only

    annotation = Annotated[int, ["not hashable"]]
    assert Serdes(codec=Zlib()).of(annotation).decode(zlib.compress(b"5")) == 5


# --- results of functions


async def makes_list() -> list[int]:
    return []


def says_nothing():  # type: ignore[no-untyped-def]
    return None


class Maker:
    async def make(self) -> set[int]:
        return set()

    async def __call__(self) -> dict[str, int]:
        return {}


@pytest.mark.parametrize(
    ("fn", "annotation"),
    [
        (makes_list, list[int]),
        (says_nothing, Any),
        (lambda: 5, Any),
        (functools.partial(makes_list), list[int]),
        (Maker().make, set[int]),
        (Maker(), dict[str, int]),
        (len, Any),
        (str, str),
    ],
    ids=repr,
)
def test_the_annotation_of_a_function_chooses_the_serde_of_its_result(fn: Callable[..., Any], annotation: Any) -> None:
    serdes = Serdes()
    assert serdes.of_result(fn) is serde_for(annotation)
    assert serdes.of_result(fn) is serde_for(annotation)


def test_closures_of_one_function_share_the_look_up() -> None:
    def make() -> Callable[[], Any]:
        def step() -> tuple[int, str]:
            return 1, ""

        return step

    serdes = Serdes()
    first = serdes.of_result(make())
    assert serdes.of_result(make()) is first
    assert first is serde_for(tuple[int, str])


def test_closures_that_mean_different_types_by_one_name_are_told_apart() -> None:
    def make(kind: type) -> Callable[[], Any]:
        def step() -> kind:  # type: ignore[valid-type]  # known at run time only
            raise AssertionError(kind)

        return step

    serdes = Serdes()
    assert serdes.of_result(make(int)) is serde_for(int)
    assert serdes.of_result(make(str)) is serde_for(str)


def test_annotations_that_are_no_text_are_told_apart_too() -> None:
    def make(kind: Any) -> Callable[[], Any]:
        def step():  # type: ignore[no-untyped-def]
            return None

        step.__annotations__["return"] = kind
        return step

    serdes = Serdes()
    assert serdes.of_result(make(int)) is serde_for(int)
    assert serdes.of_result(make(str)) is serde_for(str)
    assert serdes.of_result(make(str)) is serde_for(str)


def test_functions_made_of_text_do_not_fill_the_memory() -> None:
    serdes = Serdes()
    for number in range(5000):
        fn = eval(f"lambda: {number}")
        assert serdes.of_result(fn) is serde_for(Any)
    assert len(serdes._by_code) <= 4096


def test_a_value_without_annotation_is_written_by_its_class() -> None:
    serdes = Serdes()
    assert serdes.of_value(b"x") is serde_for(bytes)
    assert serdes.of_value(5) is serde_for(int)
    assert serdes.of_value(None).encode(None) == b"null"


def test_a_result_type_that_cannot_be_written_is_told_when_the_step_is_made() -> None:
    def step() -> complex:
        return 1j

    with pytest.raises(UsageError, match="complex"):
        Serdes().of_result(step)
