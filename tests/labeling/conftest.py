"""Pools that several modules start from."""

from __future__ import annotations

from typing import Any

import pytest

from labeling.models import Pool
from tests.labeling.qualifying import with_items


@pytest.fixture
def gated(make_pool: Any) -> Pool:
    """A pool with work, two items to train on and three to be tested by."""
    return with_items(make_pool(tasks=2, name="gated"))
