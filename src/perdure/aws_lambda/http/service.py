"""What HTTP functions have in common: an event in, a request to whoever answers, and the answer back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Container, Sequence
from typing import TypedDict

from perdure.aws_lambda.events.structure import Event
from perdure.aws_lambda.failures import FunctionError
from perdure.aws_lambda.http.answers import Answer, compressed, encode_answer, encode_pass_through
from perdure.aws_lambda.http.mapping import HttpMapping
from perdure.aws_lambda.http.request import Request
from perdure.aws_lambda.invocation import Invocation
from perdure.aws_lambda.response import BufferedResponse, Response
from perdure.aws_lambda.service import LambdaService

__all__ = ["HttpOptions", "HttpService"]


class HttpOptions(TypedDict, total=False):
    """How requests and answers are written. Every option may be left out.

    Attributes:
        base_path: what a custom domain has before the paths of the application, `/shop`; it becomes `root_path`.
        stage_in_path: whether the stage of API Gateway stands in the path where the URL had it. Without a value it
            does, unless the variable `AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH` is set.
        sources: the classes of events that are accepted; all that are HTTP requests when it is not given.
        pass_through: a path to which events of every other source are posted as JSON, `/events`; what is answered there
            is the result of the function. Without one such events are an error.
        text_types: beginnings of content types that travel as text, besides those that are known to be text.
        error_statuses: statuses that fail the invocation, so that the platform counts, reports and retries it.
        exclude_headers: headers that are left out of answers.
        compress: compress text of 1 KiB or more with gzip for clients that take it, unless the answer is streamed.
    """

    base_path: str
    stage_in_path: bool | None
    sources: Collection[type[Event]] | None
    pass_through: str | None
    text_types: Sequence[str]
    error_statuses: Container[int]
    exclude_headers: Collection[str]
    compress: bool


class HttpService(LambdaService):
    """Answers events that are HTTP requests.

    Args:
        options: how requests and answers are written.
    """

    def __init__(self, options: HttpOptions) -> None:
        self.mapping: HttpMapping = HttpMapping(
            base_path=options.get("base_path", ""),
            stage_in_path=options.get("stage_in_path"),
            sources=options.get("sources"),
            pass_through=options.get("pass_through"),
        )
        self.text_types: tuple[str, ...] = tuple(name.lower() for name in options.get("text_types", ()))
        self.error_statuses: Container[int] = options.get("error_statuses", ())
        self.compress: bool = options.get("compress", False)
        self.excluded: frozenset[str] = frozenset(name.lower() for name in options.get("exclude_headers", ()))

    async def invoke(self, invocation: Invocation) -> Response:
        """Answer one invocation."""
        return await self.respond(self.mapping.request(invocation.body, invocation.context))

    @abstractmethod
    async def respond(self, request: Request) -> Response:
        """Answer one request."""

    def checked(self, answer: Answer) -> Answer:
        """Leave out what is not to be answered.

        Raises:
            FunctionError: the status is one of those that fail the invocation.
        """
        if answer.status in self.error_statuses:
            raise FunctionError(
                f"the application answered {answer.status}, which this function reports as an error",
                error_type=f"Http{answer.status}",
            )
        if self.excluded:
            kept = tuple(pair for pair in answer.headers if pair[0] not in self.excluded)
            return Answer(answer.status, kept, answer.body)
        return answer

    def buffered(self, answer: Answer, request: Request) -> BufferedResponse:
        """The answer as the source of the request expects it."""
        answer = self.checked(answer)
        if request.source is None:
            return BufferedResponse(encode_pass_through(answer, self.text_types))
        if self.compress:
            answer = compressed(answer, request, self.text_types)
        return BufferedResponse(encode_answer(answer, request, self.text_types))
