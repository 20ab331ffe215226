"""A checkpoint's own tokenizer and chat template, as engines use them; blocking, so that callers choose where it runs."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from gateway.tokens.prompts import Conversation, Texts, Unreadable


class Unusable(Exception):
    """A folder holds no tokenizer that can be used; the message says why, and names files but no folder."""


class PromptTokenizer:
    """Counts the tokens of prompts."""

    def __init__(self, tokenizer: Tokenizer, template: Template | None, special: dict[str, str]) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._special = special

    def count(self, prompt: Conversation | Texts) -> int:
        """Tokens of a prompt.

        Raises:
            Unreadable: the template cannot render it.
        """
        if isinstance(prompt, Texts):
            return prompt.ids + sum(len(self._tokenizer.encode(text).ids) for text in prompt.texts)
        return len(self.ids(prompt))

    def ids(self, prompt: Conversation | Texts) -> list[int]:
        """The tokens of a prompt.

        Raises:
            Unreadable: the template cannot render it, or it is not one text.
        """
        if isinstance(prompt, Texts):
            if prompt.ids or len(prompt.texts) != 1:
                raise Unreadable("it is no single text")
            return list(self._tokenizer.encode(prompt.texts[0]).ids)
        # The template writes the special tokens itself.
        return list(self._tokenizer.encode(self.render(prompt), add_special_tokens=False).ids)

    def render(self, conversation: Conversation) -> str:
        """A conversation as the model reads it, up to where it shall speak.

        Raises:
            Unreadable: the template cannot render it.
        """
        if self._template is None:
            raise Unreadable("the model has no chat template")
        try:
            return self._template.render(
                **{**self._special, **conversation.arguments},
                messages=conversation.messages,
                tools=conversation.tools or None,
                documents=None,
                add_generation_prompt=True,
            )
        except Exception as error:  # a stranger's template meets a stranger's messages: it may raise anything
            raise Unreadable(f"the chat template cannot render it: {type(error).__name__}") from error


def load(folder: Path) -> PromptTokenizer:
    """Read a folder with `tokenizer.json` and a chat template.

    Raises:
        Unusable: there is no such file, or it cannot be read.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise Unusable("there is no tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises Exception itself
        raise Unusable(f"tokenizer.json cannot be read: {error}") from error
    # Some files cut or fill every text to one length, which is right for training and wrong for counting.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    config = _config(folder)
    special = {name: text for name, value in config.items() if (text := _special(name, value)) is not None}
    return PromptTokenizer(tokenizer, _template(folder, config), special)


def _config(folder: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode((folder / "tokenizer_config.json").read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise Unusable("tokenizer_config.json cannot be read") from error


def _special(name: str, value: Any) -> str | None:
    if not name.endswith("_token"):
        return None
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _template(folder: Path, config: dict[str, Any]) -> Template | None:
    file = folder / "chat_template.jinja"
    source = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
    if isinstance(source, list):  # several under names
        named = {each.get("name"): each.get("template") for each in source if isinstance(each, dict)}
        source = named.get("default")
    if not isinstance(source, str):
        return None
    # As transformers sets it up, which is what chat templates are written for.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise Unusable(f"the chat template cannot be read: {error}") from error


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return dt.datetime.now(tz=dt.UTC).astimezone().strftime(form)
