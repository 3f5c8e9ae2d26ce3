"""Results rest on enough seeds that nothing was tuned on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.learning import evidence
from benchmarks.learning.__main__ import LearningConfig, compare
from rss_env.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("suite", "algo", "seeds", "complaint"),
    [
        ("shapes", "rss", range(8), "seeds 0 1 2 3 4 5 6 7 are no evidence"),
        ("shapes", "rss", [*range(100, 107), 9], "seeds 9 are no evidence"),
        ("shapes", "rss", range(100, 107), "7 seeds are no result; valid: at least 8"),
        ("camvid", "psl", [100] * 8, "1 seeds are no result; valid: at least 8"),
        ("horses", "rss", range(100, 104), "4 seeds are no result; valid: at least 5"),
    ],
)
def test_seeds_that_make_no_result_are_refused(tmp_path, suite, algo, seeds, complaint):
    with pytest.raises(InputError, match=complaint):
        evidence.check_seeds(f"{suite} {algo}", list(seeds), evidence.seeds_needed(suite, algo))
    page = tmp_path / "page.csv"
    lines = [f"{suite},{algo},{seed},600,0.5" for seed in seeds]
    page.write_text("\n".join(["suite,algo,seed,update,miou", *lines]))
    with pytest.raises(InputError, match=f"page.csv: {suite} {algo}: {complaint}"):
        evidence.check_results(page)


@pytest.mark.parametrize("suite", ["shapes", "camvid", "horses"])
@pytest.mark.parametrize("algo", ["rss", "grpo"])
def test_the_seeds_of_a_result_make_one(suite, algo):
    seeds = evidence.result_seeds(suite, algo)
    assert min(seeds) == 100
    assert len(seeds) == (8 if algo == "rss" and suite != "horses" else 5)


def test_a_comparison_on_tuned_seeds_is_refused_before_it_runs(tmp_path):
    config = LearningConfig(seeds=(0, 1), runs=tmp_path / "runs", out=tmp_path / "out")
    with pytest.raises(InputError, match="seeds 0 1 are no evidence"):
        compare(config)
    config = LearningConfig(tuning=True, runs=tmp_path / "runs", out=evidence.RESULTS / "new")
    with pytest.raises(InputError, match="a tuning is no result"):
        compare(config)
    assert not any(tmp_path.iterdir())


def test_the_commit_tells_of_changes(tmp_path, monkeypatch):
    def git(*arguments: str) -> None:
        named = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(("git", "-C", str(tmp_path), *named, *arguments), check=True)

    monkeypatch.setattr(evidence, "_REPOSITORY", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert evidence.commit() == "unknown"
    for name in ("rss_env", "agents", "benchmarks/results", "docs"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("a")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "a")
    known = evidence.commit()
    assert re.fullmatch("[0-9a-f]{12}", known)
    for name in ("docs", "benchmarks/results"):  # pages that are being written
        (tmp_path / name / "file").write_text("b")
    assert evidence.commit() == known
    (tmp_path / "agents" / "file").write_text("b")
    assert evidence.commit() == f"{known} with changes"


def pages_quoted() -> set[Path]:
    """The pages of learning results that the README and the documentation quote."""
    found = set()
    for name in ("README.md", "docs/results.md", "docs/leaderboard.md"):
        text = (ROOT / name).read_text()
        for target in re.findall(r"\]\((?:\.\./)?(benchmarks/results/[^)#]+\.md)", text):
            page = ROOT / target
            if page.with_suffix(".csv").exists():
                found.add(page.with_suffix(".csv"))
    return found


def test_results_that_are_quoted_are_evidence():
    pages = pages_quoted()
    assert pages
    for page in sorted(pages):
        evidence.check_results(page)
