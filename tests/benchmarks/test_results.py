"""What a run of the benchmarks leaves behind; the figures themselves are judged by people."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import goals, scaling
from benchmarks.report import Plan, Section, write
from benchmarks.rounds import Rounds, interleave
from tests.system.processes import PROJECT

RATIOS = {
    "drain_c1_vs_raw",
    "drain_c1_vs_dramatiq",
    "drain_c1_vs_celery",
    "drain_c16_vs_raw",
    "drain_c16_vs_bullmq",
    "enqueue_one_vs_raw",
    "enqueue_bulk_vs_raw",
    "submit_vs_bare_view",
    "submit_vs_drf_celery",
    "bulk_submit_vs_raw",
    "idle_p50_vs_raw",
    "idle_p99_vs_raw",
    "bytes_per_job",
    "depth_1m_vs_100",
    "worker_rss_mib",
    "soak_growth_percent",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def quick_run(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one benchmark, ours and the limits alone, in its short form."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--no-peers", "--only", "enqueue", "--out", str(folder)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=50, check=False)


def test_a_quick_run_of_one_benchmark_writes_a_table_a_plot_and_all_ratios(
    quick_run: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert quick_run.returncode == 0, quick_run.stderr
    results = json.loads((folder / "results.json").read_text())
    assert set(results["ratios"]) == RATIOS
    measured = {name for name, ratio in results["ratios"].items() if ratio is not None}
    assert measured == {"enqueue_one_vs_raw", "enqueue_bulk_vs_raw"}
    assert results["quick"] is True
    assert "| Broker.enqueue |" in (folder / "results.md").read_text()
    assert (folder / "enqueue.svg").read_text().startswith("<?xml")


def test_a_run_without_a_terminal_shows_no_progress(quick_run: subprocess.CompletedProcess[str], folder: Path) -> None:
    assert quick_run.stderr == f"written to {folder}\n"


def test_each_contestant_is_set_off_against_the_reference_just_before_and_after_it() -> None:
    speeds = iter([100, 50, 300, 30, 100])  # of the machine, which is noisy: reference, a, reference, b, reference

    rounds = interleave("reference", ["a", "b"], lambda _: {"rate": next(speeds)}, 1, _Quiet())

    assert rounds.relative("a", "rate") == [50 / 200]
    assert rounds.relative("b", "rate") == [30 / 200]
    assert rounds.ratio("a", "b", "rate") == pytest.approx(50 / 30)


def test_a_contestant_that_did_not_take_part_has_no_ratio() -> None:
    rounds = Rounds("reference", [("reference", {"rate": 1.0})])

    assert rounds.ratio("a", "reference", "rate") is None


def test_the_same_figures_give_the_same_plot(tmp_path: Path) -> None:
    section = Section(
        name="s", title="S", text="", header=["a"], rows=[["1"]], draw=lambda axes: axes.barh(["x"], [1.0])
    )

    plots = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write(folder, [section], Plan(), "command")
        plots.append((folder / "s.svg").read_bytes())

    assert plots[0] == plots[1]


def test_a_goal_is_reached_from_its_own_side() -> None:
    verdicts = {row[0].strip("`"): row[4] for row in goals.rows({"drain_c1_vs_raw": 0.81, "bytes_per_job": 451.0})}

    assert verdicts["drain_c1_vs_raw"] == "yes"
    assert verdicts["bytes_per_job"] == "no"
    assert verdicts["worker_rss_mib"] == "not measured"


def test_results_that_are_kept_have_all_ratios() -> None:
    assert set(json.loads(scaling.RESULTS.read_text())["ratios"]) == RATIOS


def test_the_tables_of_scaling_are_those_of_the_results_that_are_kept() -> None:
    text = scaling.DOCUMENT.read_text()

    assert scaling.with_tables(text, json.loads(scaling.RESULTS.read_text())) == text


@pytest.mark.parametrize("requirements", sorted((PROJECT / "benchmarks" / "peers").glob("requirements-*.txt")))
def test_each_package_of_a_peer_is_pinned_by_hash(requirements: Path) -> None:
    packages = re.findall(r"^\S+==.*?(?=^\S|\Z)", requirements.read_text(), re.MULTILINE | re.DOTALL)

    assert packages
    assert all("--hash=sha256:" in package for package in packages)


class _Quiet:
    def show(self, *_: object) -> None:
        pass
