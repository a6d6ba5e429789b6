"""The engine agrees with a naive model, whatever happens, in whatever order, and wherever it crashes.

`PERDURE_EXAMPLES` sets how many histories are tried (the default is small; the nightly profile asks for 50,000).
"""

from __future__ import annotations

import os

from hypothesis import settings

from tests.engine.model_machine import Lifecycles

EXAMPLES = int(os.environ.get("PERDURE_EXAMPLES", "40"))

TestLifecycles = Lifecycles.TestCase
TestLifecycles.settings = settings(max_examples=EXAMPLES, stateful_step_count=60, deadline=None)
