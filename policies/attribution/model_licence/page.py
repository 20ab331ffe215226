"""`GET /licences` as a plain page: which model is under which licence, what that asks for in our words, what to show."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from msgspec import Struct

from policies.attribution.model_licence.lineage import Descent
from policies.attribution.model_licence.records import LicenceRecord

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Licences of the models</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
dt { font-weight: bold; }
dd { margin: 0 0 .5rem; }
</style>
</head>
<body>
<main>
<h1>Licences of the models</h1>
<p>What each model's licence asks for, in our words; the licence itself is what holds. This is no legal advice.</p>
"""
_FOOT = "</main>\n</body>\n</html>\n"


class Listed(Struct, frozen=True):
    """A model with where the licences of its replicas' weights come from, each licence once."""

    model: str
    aliases: Sequence[str]
    descents: Sequence[Descent]


def page(models: Iterable[Listed]) -> str:
    """The whole page."""
    return _HEAD + "".join(_model(model) for model in models) + _FOOT


def _model(model: Listed) -> str:
    names = ", ".join((model.model, *model.aliases))
    return f"<section>\n<h2>{html.escape(names)}</h2>\n{''.join(map(_descent, model.descents))}</section>\n"


def _descent(descent: Descent) -> str:
    facts = [("Weights", " from ".join(descent.way))]
    record = descent.record
    if record is None:
        facts.append(("Licence", "none recorded"))
        return _facts([(name, html.escape(value)) for name, value in facts])
    facts += _asked(record)
    shown = [(name, html.escape(value)) for name, value in facts]
    title = html.escape(f"{record.title} ({record.spdx})")
    if record.source is not None:
        title = f'<a href="{html.escape(record.source)}" rel="license noopener">{title}</a>'
    return _facts([shown[0], ("Licence", title), *shown[1:]])


def _asked(record: LicenceRecord) -> list[tuple[str, str]]:
    facts = [("What it asks for", record.summary)]
    if record.display is not None:
        facts.append(("What to show", f"{record.display.string} ({record.display.where})"))
    if record.notice is not None:
        facts.append(("With copies", record.notice))
    facts += [(f"Exemption: {each.id}", each.text) for each in record.exemptions]
    if record.notes is not None:
        facts.append(("Notes", record.notes))
    if not record.verified:
        facts.append(("To be checked", "This was not read in the licence itself."))
    return facts


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "<dl>\n" + "".join(f"<dt>{name}</dt><dd>{value}</dd>\n" for name, value in facts) + "</dl>\n"
