"""Fan out: follow the links of a site, a few pages at a time, in whatever order they answer.

The order in which pages are done is the order of the journal, so a replay walks the site the same way.
"""

from __future__ import annotations

import anyio
import msgspec

import perdure
from perdure import Context, Service, TerminalError

crawler = Service("Crawler")

SITE = {
    "/": ["/about", "/shop", "/blog"],
    "/about": ["/"],
    "/shop": ["/shop/tea", "/shop/cups"],
    "/shop/tea": ["/shop"],
    "/shop/cups": ["/shop", "/shop/tea"],
    "/blog": ["/blog/gone", "/about"],
}


class Found(msgspec.Struct):
    """What a crawl found: pages in the order in which they answered, and links that lead nowhere."""

    pages: list[str]
    broken: list[str]


async def links_of(page: str) -> list[str]:
    await anyio.sleep(len(page) / 1000)  # pages answer in another order than they are asked in
    if page not in SITE:
        raise TerminalError(f"there is no page {page}", code=404)
    return SITE[page]


@crawler.handler
async def crawl(ctx: Context, start: str) -> Found:
    """Visit every page that can be reached from `start`."""
    found = Found([], [])
    asked = [start]
    pending = ctx.unordered([ctx.run(links_of, start)])
    while pending:
        try:
            async for index, links in pending:
                found.pages.append(asked[index])
                for link in links:
                    if link not in asked:
                        asked.append(link)
                        pending.push(ctx.run(links_of, link))
        except TerminalError as error:  # this page is not there; go on with the others
            found.broken.append(str(error))
    return found


app = perdure.Endpoint(crawler)
