"""The examples of the Lambda runtime: as a bootstrap of AWS's own emulator, and under a restate-server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples import lambda_basic
from tests.aws_lambda.emulator import emulator
from tests.aws_lambda.lambda_deployment import deploy_function


def test_the_shop_sells_refuses_and_closes(tmp_path: Path) -> None:
    with emulator([lambda_basic.__file__], tmp_path, {"AWS_LAMBDA_LOG_FORMAT": "JSON"}) as shop:
        receipt = shop.result({"item": "tea", "count": 2})
        assert (receipt["item"], receipt["price"], bool(receipt["order"])) == ("tea", 6, True)
        error = shop.result({"item": "soap"})
        assert (error["errorType"], error["errorMessage"]) == ("Shop.SoldOut", "there is no soap")
        shop.process.end()
        assert '"the shop closes"' in shop.log()


@pytest.mark.real_server
def test_reminders_wait_without_a_running_function() -> None:
    with deploy_function("examples.lambda_durable.endpoint", "asyncio") as (deployment, _, platform):
        answer = deployment.server.wait_until_callable("/Reminders/remind", b'"ada"')
        assert json.loads(answer.body) == ["welcome -> ada", "how is it going? -> ada"]
        assert len(platform.answers) > 3  # discovery, and an attempt for each wait
