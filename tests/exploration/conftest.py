"""Exploration starts event loops of its own: nothing here runs on one."""

from __future__ import annotations

import os

os.environ.setdefault("SECRET_KEY", "6b" * 32)  # the example with a codec needs one to be imported
