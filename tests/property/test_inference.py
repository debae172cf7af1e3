"""Properties of the float side on generated inputs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.inference.features import clip, compute, spec_of
from runtime.inference.panel import BarPanel, Floats, Ints
from runtime.inference.predict import PPM, Calibration, divide_even_by, expected_return, forecast, sigmoid_ppm
from runtime.inference.quantise import bars_to_core, to_ppm
from runtime.inference.trees import TreeModel, raw_scores
from tests.support.panels import HOUR_T, NAMES, START_T, make_panel, permuted, with_values

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
PANEL = make_panel(1_700, 7, seed=31)
ROWS = st.lists(st.integers(0, 1_699), min_size=1, max_size=5).map(lambda rows: np.array(rows, np.int64))


@given(ROWS)
@settings(max_examples=40, deadline=None)
def test_any_rows_are_window_exact(rows: Ints) -> None:
    whole = compute(PANEL, rows)
    for n in range(len(rows)):
        assert compute(*clip(PANEL, rows[n : n + 1])).tobytes() == whole[n : n + 1].tobytes()


@given(ROWS, st.floats(0.01, 100.0))
@settings(max_examples=25, deadline=None)
def test_no_future_reaches_any_row(rows: Ints, factor: float) -> None:
    changed = with_values(PANEL, after=int(rows.max()), factor=factor)
    assert compute(changed, rows).tobytes() == compute(PANEL, rows).tobytes()


@given(ROWS, st.permutations(range(7)))
@settings(max_examples=25, deadline=None)
def test_order_of_assets_only_permutes(rows: Ints, order: list[int]) -> None:
    assert compute(permuted(PANEL, order), rows).tobytes() == compute(PANEL, rows)[:, order].tobytes()


@st.composite
def short_panels(draw: st.DrawFn) -> BarPanel:
    """Panels of 30 hours with few distinct prices (ties), idle hours and holes."""
    price = st.sampled_from([1.0, 1.0, 2.0, 2.5, 1e-8, 1e9, float("nan")])
    volume = st.sampled_from([0.0, 1.0, 1e12])
    close = np.array(draw(st.lists(st.lists(price, min_size=5, max_size=5), min_size=30, max_size=30)))
    traded = np.array(draw(st.lists(st.lists(volume, min_size=5, max_size=5), min_size=30, max_size=30)))
    fields = [close.copy(), close.copy(), close.copy(), close.copy(), np.where(np.isnan(close), np.nan, traded)]
    return BarPanel(NAMES[:5], HOUR_T, START_T + HOUR_T * np.arange(30, dtype=np.int64), *fields)


@given(short_panels())
@settings(max_examples=60, deadline=None)
def test_ranks_are_means_of_tied_places(panel: BarPanel) -> None:
    spec = spec_of(("rank_mom_24", "mom_24"))
    with np.errstate(all="raise"):
        ranks = compute(panel, np.array([29]), spec)[0, :, 0]
    here = panel.close[5:30]
    whole = np.asarray(~np.isnan(here).any(axis=0))
    momentum = np.full(5, np.nan)
    momentum[whole] = here[-1, whole] / here[0, whole] - 1.0
    present = sorted(momentum[whole])
    for s in range(5):
        places = [i for i, value in enumerate(present) if value == momentum[s]]
        if len(present) < 3 or not whole[s]:
            assert np.isnan(ranks[s])
        else:
            assert ranks[s] == np.float64(Fraction(sum(places), len(places) * (len(present) - 1)))


@given(st.lists(st.tuples(st.integers(-(10**17), 10**17), st.integers(1, 10**9)), min_size=1))
def test_division_is_half_even(pairs: list[tuple[int, int]]) -> None:
    n = np.array([a for a, _ in pairs], np.int64)
    d = np.array([b for _, b in pairs], np.int64)
    assert divide_even_by(n, d).tolist() == [round(Fraction(a, b)) for a, b in pairs]


@given(st.lists(st.integers(-(10**9), 10**9), min_size=2))
def test_sigmoid_is_monotone_and_symmetric(logits: list[int]) -> None:
    x = np.sort(np.array(logits, np.int64))
    p = sigmoid_ppm(x)
    assert (np.diff(p) >= 0).all()
    assert (sigmoid_ppm(-x) == PPM - p).all()
    assert p.min() >= 0
    assert p.max() <= PPM


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    """Any valid calibration."""
    ppm = st.integers(0, PPM)
    probs = sorted(draw(st.sets(ppm, min_size=1, max_size=8)))
    rets = sorted(draw(st.lists(st.integers(-(10**9), 10**9), min_size=len(probs), max_size=len(probs))))
    return Calibration(
        base_ppm=draw(ppm),
        shrink_ppm=draw(ppm),
        knots=tuple(zip(probs, rets, strict=True)),
        noise_ppm=draw(ppm),
        alone_ppm=draw(ppm),
    )


@given(calibrations(), st.lists(st.integers(0, PPM), min_size=2))
def test_expected_returns_rise_with_the_probability_and_hit_the_knots(cal: Calibration, probs: list[int]) -> None:
    found = expected_return(np.sort(np.array(probs, np.int64)), cal)
    assert (np.diff(found) >= 0).all()
    assert found.min() >= cal.knots[0][1]
    assert found.max() <= cal.knots[-1][1]
    knots = np.array(cal.knots, np.int64)
    assert (expected_return(knots[:, 0], cal) == knots[:, 1]).all()


@given(calibrations(), st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30) | st.just(float("nan"))), min_size=1))
def test_forecasts_stay_in_bounds_and_each_row_stands_alone(cal: Calibration, pairs: list[tuple[float, float]]) -> None:
    own, coin = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    found = forecast(own, coin, cal)
    for column in (found.prob_ppm, found.uncertainty_ppm):
        assert column.min() >= 0
        assert column.max() <= PPM
    alone = forecast(own[-1:], coin[-1:], cal)
    assert [c[0] for c in alone] == [c[-1] for c in found]


@given(st.lists(st.integers(1, 10**15), min_size=1), st.integers(0, 10**15))
def test_prices_of_eight_decimals_survive(units: list[int], volume: int) -> None:
    prices = np.array([[int(u) / 10**8] for u in units])  # the double nearest to the published decimal
    traded = np.full(prices.shape, volume / 10**4)
    open_t = START_T + HOUR_T * np.arange(len(units), dtype=np.int64)
    panel = BarPanel(("BTC",), HOUR_T, open_t, prices, prices, prices, prices, traded)
    bars, _ = bars_to_core(panel, ("BTC",))
    assert bars["close_e8"][:, 0].tolist() == units
    assert abs(int(bars["volume_e4"][0, 0]) - volume) <= 1


@given(st.lists(st.floats(-1e3, 1e3), min_size=1))
def test_ppm_is_the_nearest_integer(values: list[float]) -> None:
    found = to_ppm(np.array(values))
    for value, ppm in zip(values, found, strict=True):
        assert abs(Fraction(value) * PPM - int(ppm)) <= Fraction(1, 2) + Fraction(1, 10**6)


@st.composite
def forests(draw: st.DrawFn) -> tuple[str, list[list[dict[str, float]]]]:
    """Return a random model text and, per tree, its nodes (for a slow evaluator)."""
    trees, blocks = [], []
    for number in range(draw(st.integers(1, 4))):
        leaves = draw(st.integers(1, 6))
        left: list[int] = []
        right: list[int] = []
        slots: list[tuple[int | None, int]] = [(None, 0)]
        for node in range(leaves - 1):
            parent, side = slots.pop(draw(st.integers(0, len(slots) - 1)))
            if parent is not None:
                (left if side == 0 else right)[parent] = node
            left.append(0)
            right.append(0)
            slots += [(node, 0), (node, 1)]
        for leaf, (parent, side) in enumerate(slots):
            if parent is not None:
                (left if side == 0 else right)[parent] = -1 - leaf
        finite = st.floats(allow_nan=False, allow_infinity=False)
        splits = leaves - 1
        feature = draw(st.lists(st.integers(0, 2), min_size=splits, max_size=splits))
        threshold = draw(st.lists(finite | st.sampled_from([0.0, 1e-35, -1e-35]), min_size=splits, max_size=splits))
        decision = draw(st.lists(st.sampled_from([0, 2, 4, 6, 8, 10]), min_size=splits, max_size=splits))
        values = draw(st.lists(st.floats(-1e6, 1e6), min_size=leaves, max_size=leaves))
        trees.append([
            {"f": f, "t": t, "d": d, "l": a, "r": b} for f, t, d, a, b in zip(feature, threshold, decision, left, right, strict=True)
        ] + [{"value": v} for v in values])  # fmt: skip
        lines = [f"Tree={number}", f"num_leaves={leaves}", "num_cat=0"]
        for key, row in (
            ("split_feature", feature), ("threshold", threshold), ("decision_type", decision), ("left_child", left),
            ("right_child", right), ("leaf_value", values),
        ):  # fmt: skip
            lines.append(f"{key}={' '.join(repr(v) for v in row)}")
        blocks.append("\n".join(lines))
    header = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=2\nfeature_names=a b c\n"
    return header + "\n" + "\n\n".join(blocks) + "\n\nend of trees\n", trees


def slow_score(trees: list[list[dict[str, float]]], row: Floats) -> float:
    """Evaluate as LightGBM's source reads, tree by tree."""
    zero = float(np.float32(1e-35))
    total = 0.0
    for nodes in trees:
        splits = [n for n in nodes if "f" in n]
        at = 0 if splits else -1
        while at >= 0:
            node = splits[at]
            x = float(row[int(node["f"])])
            missing, default_left = int(node["d"]) >> 2, bool(int(node["d"]) & 2)
            if np.isnan(x) and missing != 2:
                x = 0.0
            if abs(x) <= zero:
                x = 0.0
            use_default = (missing == 1 and x == 0.0) or (missing == 2 and np.isnan(x))
            at = int(node["l"] if (default_left if use_default else x <= node["t"]) else node["r"])
        total += nodes[len(splits) - 1 - at]["value"]
    return total


@given(forests(), st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=8))
@settings(deadline=None)
def test_the_evaluator_follows_the_rules_on_any_forest(
    forest: tuple[str, list[list[dict[str, float]]]], rows: list[tuple[float, float, float]]
) -> None:
    text, trees = forest
    model = TreeModel.parse(text)
    x = np.array(rows)
    assert raw_scores(model, x).tolist() == [slow_score(trees, row) for row in x]
