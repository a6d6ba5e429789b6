"""AWS Lambda: durable services as a function, invoked by a restate-server that knows the function's ARN.

    restate deployments register arn:aws:lambda:eu-central-1:123456789012:function:reminders:1

While a reminder waits, for a week if need be, no function runs.
"""

from __future__ import annotations

import datetime as dt

import perdure
from perdure import Context, Service
from perdure.aws_lambda import main

reminders = Service("Reminders")


async def send_mail(to: str, text: str) -> str:
    """Stand for a mail that is really sent."""
    return f"{text} -> {to}"


@reminders.handler
async def remind(ctx: Context, to: str) -> list[str]:
    """Send a mail now and another one later; each is sent once, however often the function is invoked."""
    first = await ctx.run(send_mail, to, "welcome")
    await ctx.sleep(dt.timedelta(milliseconds=50))
    return [first, await ctx.run(send_mail, to, "how is it going?")]


endpoint = perdure.Endpoint(reminders)

if __name__ == "__main__":
    main(endpoint)
