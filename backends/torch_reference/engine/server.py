"""The routes, and how HTTP's own failures read; it must not know how answers are made."""

import logging
import re
import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp

from backends.torch_reference.engine.bodies import decode_body, ignored_parameters
from backends.torch_reference.engine.chat import ChatResponder, plan_chat
from backends.torch_reference.engine.chat_template import check_template_arguments, check_tools, template_messages
from backends.torch_reference.engine.completions import CompletionResponder, plan_completion
from backends.torch_reference.engine.errors import ApiError, EngineFailure, HttpFailure
from backends.torch_reference.engine.generation import Generation
from backends.torch_reference.engine.protocol import (
    ChatRequest,
    CompletionRequest,
    TokenizeChatRequest,
    TokenizeTextRequest,
)
from backends.torch_reference.engine.replies import InferenceReply, error_headers
from backends.torch_reference.engine.responses import ModelCard, ModelList, Tokenized
from backends.torch_reference.engine.sequence import SequenceSpec
from backends.torch_reference.engine.service import Service

logger = logging.getLogger(__name__)

HttpRequest = Request[Any, Any, State]

IGNORED_HEADER = "x-ignored-parameters"
MAX_BODY_BYTES = 32 * 1024 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def _service(request: HttpRequest) -> Service:
    service = request.app.state["service"]
    if not isinstance(service, Service):
        raise TypeError(type(service))
    return service


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Response(content, status_code=status, media_type="application/json", headers=headers)


def _response_id(request: HttpRequest, prefix: str) -> str:
    """Return an id that carries the caller's own, so that both sides' logs can be joined."""
    given = request.headers.get("x-request-id", "")
    return f"{prefix}-{given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex}"


@post("/v1/chat/completions")
async def chat_completions(request: HttpRequest) -> ASGIApp:
    """Answer a conversation."""
    service = _service(request)
    raw = await request.body()
    body = decode_body(raw, ChatRequest)
    service.check_model(body.model)
    plan = plan_chat(service, body)
    responder = ChatResponder(service, plan, _response_id(request, "chatcmpl"), int(time.time()))
    return _reply(service, responder, plan.specs, raw, body)


@post("/v1/completions")
async def completions(request: HttpRequest) -> ASGIApp:
    """Go on with a text."""
    service = _service(request)
    raw = await request.body()
    body = decode_body(raw, CompletionRequest)
    service.check_model(body.model)
    plan = plan_completion(service, body)
    responder = CompletionResponder(service, plan, _response_id(request, "cmpl"), int(time.time()))
    return _reply(service, responder, plan.specs, raw, body)


def _reply(
    service: Service,
    responder: ChatResponder | CompletionResponder,
    specs: Sequence[SequenceSpec],
    raw: bytes,
    body: ChatRequest | CompletionRequest,
) -> InferenceReply:
    ignored = ignored_parameters(raw, type(body))
    return InferenceReply(
        # Last of all: from here on, only the reply gives up what it queues.
        Generation(service.worker, specs),
        responder.stream if body.stream else responder.whole,
        service.metrics,
        headers={IGNORED_HEADER: ignored} if ignored else {},
        streamed=bool(body.stream),
    )


@get("/v1/models")
async def models(request: HttpRequest) -> Response[bytes]:
    """Name the served model."""
    service = _service(request)
    served = service.served
    length = served.context_length
    return _json(ModelList("list", [ModelCard(served.name, "model", service.created, "moegate", length, length)]))


@post("/tokenize")
async def tokenize(request: HttpRequest) -> Response[bytes]:
    """Tell the tokens of a prompt, exactly as they would be run."""
    service = _service(request)
    raw = await request.body()
    parsed = decode_body(raw, dict[str, msgspec.Raw])
    if "messages" in parsed:
        chat = decode_body(raw, TokenizeChatRequest)
        check_tools(chat.tools or [])
        name = chat.model
        ids = service.tokenizer.render(
            template_messages(chat.messages),
            chat.tools,
            check_template_arguments(chat.chat_template_kwargs),
            add_generation_prompt=chat.add_generation_prompt,
        )
    else:
        text = decode_body(raw, TokenizeTextRequest)
        name = text.model
        ids = service.tokenizer.encode(text.prompt, add_special_tokens=text.add_special_tokens)
    if name is not None:
        service.check_model(name)
    return _json(Tokenized(len(ids), service.served.context_length, ids))


@get("/health")
async def health(request: HttpRequest) -> Response[bytes]:
    """Say whether requests can be served: the port only opens once the model is loaded."""
    alive = _service(request).worker.alive
    return _json({"status": "ok" if alive else "dead"}, status=200 if alive else 503)


@get("/metrics")
async def metrics(request: HttpRequest) -> Response[str]:
    """Tell the counters."""
    service = _service(request)
    worker = service.worker
    text = service.metrics.render(running=worker.running, waiting=worker.waiting, max_concurrent=worker.max_concurrent)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@get("/version")
async def version(request: HttpRequest) -> Response[bytes]:
    """Tell what is at work here."""
    return _json(_service(request).version)


def _on_api_error(request: HttpRequest, error: ApiError) -> Response[bytes]:
    _service(request).metrics.outcomes["refused"] += 1
    return _json(error.body(), status=error.status, headers=error_headers(error))


def _on_http_error(request: HttpRequest, error: HTTPException) -> Response[bytes]:
    if error.status_code >= 500:  # noqa: PLR2004 - where HTTP's server errors begin
        return _on_fault(request, error)
    reasons = {404: "no such route", 405: "method not allowed", 413: "the body is too large"}
    failure = HttpFailure(error.status_code, reasons.get(error.status_code, "the request is not valid"))
    return _json(failure.body(), status=failure.status)


def _on_fault(_request: HttpRequest, error: Exception) -> Response[bytes]:
    logger.error("a request failed", exc_info=error)
    msg = "the engine failed to handle the request"
    failure = EngineFailure(msg)
    return _json(failure.body(), status=failure.status)


def build_app(service: Service) -> Litestar:
    """Return the application."""
    return Litestar(
        [chat_completions, completions, models, tokenize, health, metrics, version],
        state=State({"service": service}),
        exception_handlers={ApiError: _on_api_error, HTTPException: _on_http_error, Exception: _on_fault},
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
    )
