"""Every result is kept for the table; see tests/conformance/results.py."""

import pytest

pytest.register_assert_rewrite("tests.conformance.backends.cases")

from tests.conformance.results import (  # noqa: E402 - after the rewriting is asked for
    pytest_configure,
    pytest_runtest_makereport,
    pytest_sessionfinish,
)

__all__ = ["pytest_configure", "pytest_runtest_makereport", "pytest_sessionfinish"]
