"""Why a forecast is what it is: exact TreeSHAP values over our own trees, without shap or LightGBM.

It is the path-dependent TreeSHAP of Lundberg, Erion and Lee, "Consistent Individualized Feature Attribution for Tree Ensembles"
(2018), algorithm 2, with the training rows of each node as weights: what `shap.TreeExplainer` and LightGBM's `pred_contrib` compute.
It runs on demand, never on the way to a decision, so its bits need not be portable; a test holds it within 1e-9 of LightGBM.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from runtime.errors import DataError
from runtime.inference.features import paths_of
from runtime.inference.forecaster import HORIZON_NAMES, Forecaster
from runtime.inference.kernels import P_CLOSE
from runtime.inference.panel import BarPanel, Floats, Ints
from runtime.inference.trees import Small, TreeModel, goes_left, raw_scores
from runtime.inference.trend import DAY_T, PPM, TrendSpec, momentum_at
from runtime.jit import core

ROOT: Final = -1
"""Parent of a tree's first node."""


@dataclass(frozen=True, slots=True, eq=False)
class Explainer:
    """A model together with how many training rows reached each of its nodes.

    Attributes:
        model: the trees.
        parent: int32 [nodes], the node above; `ROOT` at the top of a tree.
        from_left: int32 [nodes], 1 where a node is the left child of the one above.
        node_rows: float64 [nodes], training rows that reached a split.
        leaf_rows: float64 [leaves], training rows that ended in a leaf.
        expected: mean raw score over the training rows: what the contributions of a row are added to.
    """

    model: TreeModel
    parent: Small
    from_left: Small
    node_rows: Floats
    leaf_rows: Floats
    expected: float

    @classmethod
    def parse(cls, text: str) -> Explainer:
        """Return the explainer of a LightGBM text.

        Raises:
            DataError: no model, of an unknown kind, or without the numbers of rows.
        """
        model = TreeModel.parse(text)
        node_rows, leaf_rows = _rows_of(text)
        parent = np.full(len(model.feature), ROOT, np.int32)
        from_left = np.zeros(len(model.feature), np.int32)
        for side, children in ((1, model.left), (0, model.right)):
            inner = np.flatnonzero(children >= 0)
            parent[children[inner]] = inner
            from_left[children[inner]] = side
        return cls(model, parent, from_left, node_rows, leaf_rows, _expected(model, parent, node_rows, leaf_rows))

    def contributions(self, features: Floats) -> Floats:
        """Return what each feature adds to the raw score of each row.

        Args:
            features: float64 [M, F], columns in the order of the model's feature names; NaN is missing.

        Returns:
            float64 [M, F], in logits; a row's sum and `expected` give its raw score.

        Raises:
            DataError: another number of columns.
        """
        m = self.model
        if features.ndim != 2 or features.shape[1] != len(m.feature_names):
            raise DataError(
                f"features of shape {features.shape}", expected=f"[rows, {len(m.feature_names)}]",
                action="compute the features with the spec of the bundle",
            )  # fmt: skip
        rows = np.require(features, np.float64, ["C", "W"])
        out = np.zeros(rows.shape)
        add_contributions(
            m.feature, m.missing, m.default_left, m.left, m.right, m.threshold, m.values, self.parent, self.from_left,
            self.node_rows, self.leaf_rows, rows, out,
        )  # fmt: skip
        return out


@dataclass(frozen=True, slots=True)
class HorizonContributions:
    """What made one asset's forecast at one horizon.

    Attributes:
        horizon_h: hours ahead.
        name: near, main or far.
        unit: `logit` for models; `probability` for the votes of the trend rule.
        base: what is expected before anything is known of the row.
        features: names; of a rule, the looks that voted.
        inputs: float, the value of each feature; None where it is missing.
        values: contribution of each feature, in the unit.
        score: base and values together: the raw score before quantising, shrinkage and calibration.
    """

    horizon_h: int
    name: str
    unit: str
    base: float
    features: tuple[str, ...]
    inputs: tuple[float | None, ...]
    values: tuple[float, ...]
    score: float


def contributions(forecaster: Forecaster, panel: BarPanel, symbol: str) -> tuple[HorizonContributions, ...]:
    """Return what made one asset's forecast at the close of the panel's last bar, horizon by horizon.

    The score that the runtime forms from a global model and the asset's own is the mean of their logits, and so is the
    contribution of each feature.

    Args:
        forecaster: the bundle that made the forecast.
        panel: the bars it was made from, `forecaster.window_n` of them.
        symbol: the asset.

    Raises:
        DataError: the asset has no forecast there: not of this bundle, outside its time, or without enough bars.
    """
    if symbol not in forecaster.symbols:
        raise _nothing(f"{symbol} is not among {', '.join(forecaster.symbols)}")
    s = forecaster.symbols.index(symbol)
    made = forecaster.forecast(panel)
    at_t = int(panel.open_t[-1]) + panel.interval_t
    if made is None or not made[0][s]["valid_n"]:
        raise _nothing(f"no forecast of {symbol} at {at_t}")
    if isinstance(forecaster.rule, TrendSpec):
        return _votes(panel, s, forecaster.rule)
    (part,) = (part for part in forecaster.description.parts if part.from_t <= at_t < part.to_t)
    row = np.ascontiguousarray(forecaster.features(panel)[s : s + 1])
    inputs = tuple(None if math.isnan(value) else value for value in row[0].tolist())
    found = []
    for name, horizon in zip(HORIZON_NAMES, part.horizons, strict=True):
        hashes = [horizon.global_hash, *(coin.model_hash for coin in horizon.coins if coin.symbol == symbol)]
        explainers = [Explainer.parse(forecaster.texts[model_hash]) for model_hash in hashes]
        models_n = float(len(explainers))
        values = [_added(each) / models_n for each in zip(*(e.contributions(row)[0].tolist() for e in explainers), strict=True)]
        score = _added(float(raw_scores(explainer.model, row)[0]) for explainer in explainers) / models_n
        base = _added(explainer.expected for explainer in explainers) / models_n
        found.append(
            HorizonContributions(horizon.horizon_h, name, "logit", base, forecaster.rule.names, inputs, tuple(values), score)
        )
    return tuple(found)


def _votes(panel: BarPanel, s: int, rule: TrendSpec) -> tuple[HorizonContributions, ...]:
    """Return the looks of the trend rule: each known one moves the probability of all horizons by the same, up or down."""
    close = np.stack([paths_of(panel, n)[P_CLOSE] for n in (s, panel.symbols.index(rule.reference))], axis=1)
    before = np.concatenate([np.zeros((1, 2), np.int64), np.cumsum(np.isfinite(close), axis=0, dtype=np.int64)])
    last = len(panel.open_t) - 1
    midnight = last - int((panel.open_t[last] + panel.interval_t) % DAY_T) // panel.interval_t
    rows = midnight - np.arange(rule.looks_n) * (DAY_T // panel.interval_t)
    momentum, known = momentum_at(close, before, rows, rule)
    vote = known[:, 0] & (momentum[:, 0] > 0.0) & (momentum[:, 1] > 0.0)
    each = rule.step_ppm * rule.looks_n / int(np.count_nonzero(known[:, 0])) / PPM
    values = tuple((each if yes else -each) if there else 0.0 for there, yes in zip(known[:, 0], vote, strict=True))
    names = tuple(f"momentum {rule.momentum_n} h, {look} d ago" for look in range(rule.looks_n))
    inputs = tuple(m if there else None for m, there in zip(momentum[:, 0].tolist(), known[:, 0], strict=True))
    score = 0.5 + _added(values)
    return tuple(
        HorizonContributions(hours, name, "probability", 0.5, names, inputs, values, score)
        for name, hours in zip(HORIZON_NAMES, rule.horizons_h, strict=True)
    )


@core
def add_contributions(
    feature: Small, missing: Small, default_left: Small, left: Small, right: Small, threshold: Floats, values: Floats,
    parent: Small, from_left: Small, node_rows: Floats, leaf_rows: Floats, rows: Floats, out: Floats,
) -> None:  # fmt: skip
    """Add the SHAP values of each row [M, F] to out [M, F], leaf by leaf.

    Every leaf is a game of the features on its path. A feature that is known lets through the row's own way (one or nothing); one
    that is not lets through the share of the training rows that went this way (EXTEND and UNWIND of the paper).
    """
    size = rows.shape[1] + 1
    on_path = np.empty(size, np.int64)
    one = np.empty(size)
    zero = np.empty(size)
    weight = np.empty(size + 1)
    for m in range(rows.shape[0]):
        row = rows[m]
        for node in range(feature.shape[0]):
            for side in range(2):
                child = left[node] if side == 1 else right[node]
                if child >= 0:
                    continue
                leaf = -1 - child
                depth = 0
                at = node
                went = side
                below = leaf_rows[leaf]
                while at >= 0:
                    hot = goes_left(row[feature[at]], threshold[at], missing[at], default_left[at]) == (went == 1)
                    place = 0
                    while place < depth and on_path[place] != feature[at]:
                        place += 1
                    if place == depth:
                        on_path[place] = feature[at]
                        one[place] = 1.0
                        zero[place] = 1.0
                        depth += 1
                    zero[place] *= below / node_rows[at]
                    if not hot:
                        one[place] = 0.0
                    below = node_rows[at]
                    went = from_left[at]
                    at = parent[at]
                add_leaf(on_path, one, zero, weight, depth, values[leaf], out[m])


@core
def add_leaf(on_path: Ints, one: Floats, zero: Floats, weight: Floats, depth: int, value: float, out: Floats) -> None:
    """Add one leaf's share to each of the `depth` features on its path."""
    weight[0] = 1.0
    for d in range(1, depth + 1):  # EXTEND
        weight[d] = 0.0
        for i in range(d - 1, -1, -1):
            weight[i + 1] += one[d - 1] * weight[i] * (i + 1) / (d + 1)
            weight[i] = zero[d - 1] * weight[i] * (d - i) / (d + 1)
    for f in range(depth):  # the sum that UNWIND of this feature would leave
        total = 0.0
        following = weight[depth]
        for i in range(depth - 1, -1, -1):
            if one[f] != 0.0:
                share = following * (depth + 1) / ((i + 1) * one[f])
                total += share
                following = weight[i] - share * zero[f] * (depth - i) / (depth + 1)
            else:  # above zero: every node was reached by some training row
                total += weight[i] / (zero[f] * (depth - i) / (depth + 1))
        out[on_path[f]] += total * (one[f] - zero[f]) * value


def _rows_of(text: str) -> tuple[Floats, Floats]:
    """Return the training rows that reached each split and each leaf of a text that `TreeModel` has parsed."""
    node_rows: list[float] = []
    leaf_rows: list[float] = []
    for section in text.partition("\nend of trees")[0].split("\nTree=")[1:]:
        tree = {key: value for key, _, value in (line.partition("=") for line in section.split("\n"))}
        leaves = int(tree["num_leaves"])
        # a tree of one leaf is the same for every row: its count is of no use, and not always written
        leaf_rows += [1.0] if leaves == 1 else _counts(tree, "leaf_count", leaves)
        node_rows += _counts(tree, "internal_count", leaves - 1)
    return np.array(node_rows, np.float64), np.array(leaf_rows, np.float64)


def _counts(tree: dict[str, str], key: str, count: int) -> list[float]:
    words = tree.get(key, "").split()
    if len(words) != count or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise _uncounted(f"{len(words)} of {key} for {count}, or one that is no whole number above zero")
    return [float(word) for word in words]


def _expected(model: TreeModel, parent: Small, node_rows: Floats, leaf_rows: Floats) -> float:
    """Return the mean raw score over the training rows: each leaf by its share of the rows at the top of its tree."""
    terms = [float(model.values[-1 - root]) for root in model.roots.tolist() if root < 0]
    for children in (model.left, model.right):
        for node in np.flatnonzero(children < 0).tolist():
            leaf, top = -1 - int(children[node]), node
            while parent[top] != ROOT:
                top = int(parent[top])
            terms.append(float(model.values[leaf]) * float(leaf_rows[leaf]) / float(node_rows[top]))
    return _added(terms)


def _added(values: Iterable[float]) -> float:
    """Return a sum in the order given, so that it is the same on any machine."""
    total = 0.0
    for value in values:
        total += value
    return total


def _uncounted(got: str) -> DataError:
    return DataError(
        got, expected="the training rows of every split and leaf", action="store the model again; check its digest"
    )


def _nothing(got: str) -> DataError:
    return DataError(
        got, expected="an asset and a time with a forecast", action="choose a decision that was made on a forecast"
    )
