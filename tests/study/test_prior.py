"""What tables say of networks that were never trained, and when a study listens."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from mfsearch.analysis.ranking.agreement import kendall_tau
from mfsearch.presets import MF_151M
from mfsearch.study.manifest import check_same_study
from mfsearch.study.prior import COLUMNS, Prior, fit_prior, prior_columns, prior_slope
from mfsearch.study.table_file import load_table
from tests.analysis.rows import manifest

PRIOR = Prior(("cifar10-30M",), dict.fromkeys(COLUMNS, 0.5))


def test_what_was_learned_at_30m_ranks_the_networks_of_the_50m_judge() -> None:
    """Kendall's tau with the judge's validation loss, of 16 networks of 45M to 50M and of all 32; no table of theirs
    was used, nor were the columns chosen on it."""
    prior, table = fit_prior([load_table("cifar10-30M")]), load_table("cifar10-50M")
    for rows, least in (([row for row in table.rows if row.madds > 45e6], 0.4), (table.rows, 0.4)):
        judged = [row.judged_score for row in rows]
        assert kendall_tau([prior.score(row.config) for row in rows], np.array(judged, dtype=float)) > least


def test_the_columns_of_a_network_do_not_depend_on_its_deployment() -> None:
    """mf-151m in Table 1 of arXiv:2108.05895: stem 12, last widths 16, 32, 88 and 128, head 1280, 11 rows with both."""
    columns = prior_columns(MF_151M)
    assert prior_columns(dataclasses.replace(MF_151M, resolution=96, classes=10)) == columns
    root = np.exp(columns[COLUMNS.index("madds")] / 2)
    np.testing.assert_allclose(np.exp(columns[:6]) * root, [12, 16, 32, 88, 128, 1280])
    assert columns[COLUMNS.index("to_former")] == 11


def test_the_slope_is_kept_only_where_it_predicts_what_was_left_out() -> None:
    """Beside fits that each leave one value out."""
    rng, kept = np.random.default_rng(0), []
    for _ in range(200):
        known = rng.normal(size=8)
        y = 0.5 * known + rng.normal(size=8)
        by_slope, by_mean = [], []
        for k in range(8):
            rest = np.delete(np.arange(8), k)
            line = np.polyfit(known[rest], y[rest], 1)
            by_slope.append((y[k] - np.polyval(line, known[k])) ** 2)
            by_mean.append((y[k] - y[rest].mean()) ** 2)
        slope = np.polyfit(known, y, 1)[0]
        expected = slope if slope > 0 and sum(by_slope) < sum(by_mean) else 0.0
        assert prior_slope(known, y) == pytest.approx(expected)
        kept.append(expected > 0)
    assert 40 < sum(kept) < 160


def test_a_prior_that_says_nothing_or_the_opposite_has_no_weight() -> None:
    y = np.arange(10.0)
    assert prior_slope(y, y) == pytest.approx(1.0)
    assert prior_slope(-y, y) == 0.0
    assert prior_slope(np.ones(10), y) == 0.0


def test_a_shuffled_prior_mostly_has_no_weight() -> None:
    rows = load_table("cifar10-30M").rows
    known, y = fit_prior([load_table("cifar10-50M")]), np.array([row.score for row in rows])
    said = np.array([known.score(row.config) for row in rows])
    rng = np.random.default_rng(0)
    slopes = [prior_slope(rng.permutation(said)[:30], y[:30]) for _ in range(300)]
    assert np.mean(np.array(slopes) == 0) > 0.8
    assert np.mean(slopes) < 0.2 * prior_slope(said, y)


# --- in a manifest


def test_a_study_keeps_the_prior_that_it_began_with() -> None:
    kept = manifest(prior="tables", prior_fit=dataclasses.asdict(PRIOR))
    assert kept.prior_fit == PRIOR
    assert kept.options().get("prior") is None
    assert manifest(prior="none").options()["prior"] == "none"


def test_a_study_from_before_priors_has_none_and_resumes() -> None:
    before = manifest()
    assert before.prior_fit is None
    assert "prior" not in before.options()
    now = manifest(prior="tables", prior_fit=dataclasses.asdict(PRIOR))
    check_same_study("s", before.identity, now.identity)


def test_another_prior_than_the_study_s_is_refused() -> None:
    none, tables = manifest(prior="none"), manifest(prior="tables")
    with pytest.raises(ValueError, match="prior: the study has none, this run says tables"):
        check_same_study("s", none.identity, tables.identity)
    check_same_study("s", tables.identity, manifest(prior="tables", prior_fit=dataclasses.asdict(PRIOR)).identity)


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        ({"tables": ["a"], "weights": {}}, "weights must be a number for each of stem, width_4"),
        ({"tables": ["a"], "weights": dict.fromkeys(COLUMNS, float("inf"))}, "weights must be a number for each"),
        ({"tables": "a", "weights": dict.fromkeys(COLUMNS, 1.0)}, "prior_fit.tables must be a list"),
        ({"tables": ["a"], "weights": dict.fromkeys(COLUMNS, "1")}, "prior_fit.weights.stem must be a number"),
        ([1], "prior_fit must be a mapping"),
    ],
)
def test_a_damaged_prior_is_named(fit: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        manifest(prior="tables", prior_fit=fit)
