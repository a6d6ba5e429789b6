"""The fan-out example."""

from __future__ import annotations

import pytest

from examples.fan_out import SITE, crawl
from perdure import Client
from perdure.testing import run

pytestmark = pytest.mark.anyio

APP = "examples.fan_out:app"
READY = "/Crawler/crawl", b'"/about"'


async def test_every_page_is_found_once_and_broken_links_are_told(client: Client) -> None:
    found = await client.call(crawl, "/")
    assert found.pages[0] == "/"
    assert sorted(found.pages) == sorted(SITE)
    assert found.broken == ["there is no page /blog/gone"]


async def test_a_replay_finds_the_same_pages() -> None:
    ran = await run(crawl, "/shop", always_replay=True)
    assert ran.result.pages[0] == "/shop"
    assert sorted(ran.result.pages) == ["/shop", "/shop/cups", "/shop/tea"]
    assert ran.attempts == 3  # the pages behind the first one are asked at once
