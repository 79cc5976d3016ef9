"""Let failed assertions of the model's machine say what they compared, as those of tests do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.queueing.agreement", "tests.queueing.machine", "tests.queueing.world")
