"""Counts tokens before an engine has told: estimates that learn, and models' own tokenizers. Knows no policy and no engine."""

from gateway.tokens.counter import LearnedCounter

__all__ = ["LearnedCounter"]
