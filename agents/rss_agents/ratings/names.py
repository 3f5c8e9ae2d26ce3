"""Names of the files of ratings."""

from __future__ import annotations

RATINGS_NAME = "ratings.jsonl"
FOLDER_NAME = "ratings"  # in the folder of a run
