"""HTTP on Lambda: ASGI applications and plain functions behind API Gateway, function URLs, load balancers and Lattice.

`asgi_service` and `http_service` make services for `perdure.aws_lambda.run`. The rest is what their options and their
functions are written with.
"""

from __future__ import annotations

from perdure.aws_lambda.http.asgi import asgi_service
from perdure.aws_lambda.http.failures import HttpError, RequestBodyError
from perdure.aws_lambda.http.functions import Response, http_service
from perdure.aws_lambda.http.lifespan import LifespanMode
from perdure.aws_lambda.http.request import Request
from perdure.aws_lambda.http.service import HttpOptions, HttpService

__all__ = [
    "HttpError",
    "HttpOptions",
    "HttpService",
    "LifespanMode",
    "Request",
    "RequestBodyError",
    "Response",
    "asgi_service",
    "http_service",
]
