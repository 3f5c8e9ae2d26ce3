"""Scorers that an agent is told nothing about: a zoo of what people have in place of labels.

A scorer of a suite goes by its name, as `--scorer` takes it:

    rss-train --scorer benchmarks.scorers:camvid_boundary_f ...

Suites are those of `benchmarks.learning`, kinds those of `benchmarks.scorers.zoo.ZOO`; data is
looked for under $RSS_DATA_ROOT.
"""

from __future__ import annotations

from rss_env.feedback import Scorer


def __getattr__(name: str) -> Scorer:
    """The scorer `<suite>_<kind>`, with _ for - in suites; built when it is first asked for.

    Raises:
        AttributeError: If there is no such suite or kind.
    """
    from benchmarks.learning.suites import SUITES
    from benchmarks.scorers.zoo import ZOO

    for suite in SUITES:
        stem = suite.replace("-", "_") + "_"
        if name.startswith(stem) and (kind := name.removeprefix(stem)) in ZOO:
            return ZOO[kind](SUITES[suite])
    raise AttributeError(
        f"no scorer {name!r}; valid: <suite>_<kind>, with a suite of {', '.join(SUITES)} and a "
        f"kind of {', '.join(ZOO)}"
    )
