"""The table of settings."""

from __future__ import annotations

import pytest

from perdure.server import Settings


def test_every_setting_has_a_unit_and_a_reason() -> None:
    table = list(Settings.explain())
    assert {entry.name for entry in table} == set(Settings.__dataclass_fields__)
    assert all(entry.unit and entry.reason.endswith(".") for entry in table)


def test_the_settings_avoid_what_is_known_to_fail() -> None:
    settings = Settings()
    assert settings.max_streams <= 900
    assert settings.idle_timeout >= 600
    assert settings.stream_window > 65535
    assert settings.connection_window > settings.stream_window


def test_settings_cannot_be_misspelt_or_changed() -> None:
    with pytest.raises(TypeError):
        Settings(max_stream=1)  # type: ignore[call-arg] # the mistake this is about
    with pytest.raises(AttributeError):
        Settings().max_streams = 1  # type: ignore[misc] # the mistake this is about
