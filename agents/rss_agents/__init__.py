"""Agents that learn segmentation from scores, their labelled references, and the command line."""

from __future__ import annotations

import rss_env  # noqa: F401  (before other libraries: it says where their caches may lie)
