"""An evaluator of LightGBM text models that gives LightGBM's raw score bit for bit, without LightGBM.

What it follows is `Tree::NumericalDecision`, `Tree::Predict` and `GBDT::PredictRaw` of LightGBM 4 (`include/LightGBM/tree.h`,
`src/boosting/gbdt_prediction.cpp`): a leaf's value per tree, added in the order of the trees, starting from zero. Anything a
model can contain that this does not evaluate is refused by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.canonical import sha256_hex
from runtime.errors import DataError
from runtime.inference.panel import Floats
from runtime.jit import core

Small = npt.NDArray[np.int32]

LOGIT_OBJECTIVE: Final = "binary sigmoid:1"
KNOWN_VERSIONS: Final = ("v3", "v4")
ZERO: Final = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold, a single-precision literal: at most this far from zero counts as zero."""
CATEGORICAL, DEFAULT_LEFT = 1, 2
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class TreeModel:
    """A model as flat arrays; node i of the forest splits, a negative child -1 - v is value v.

    Attributes:
        digest: SHA-256 of the text.
        feature_names: names of the input columns, in order.
        objective: the objective line, for example `binary sigmoid:1`.
        roots: int32 [trees], first node of each tree, or -1 - v for a tree of one leaf.
        feature, missing, default_left, left, right: int32 [nodes].
        threshold: float64 [nodes]; at most it goes left.
        values: float64 [leaves].
    """

    digest: str
    feature_names: tuple[str, ...]
    objective: str
    roots: Small
    feature: Small
    missing: Small
    default_left: Small
    left: Small
    right: Small
    threshold: Floats
    values: Floats

    @classmethod
    def parse(cls, text: str) -> TreeModel:
        """Return the model of a LightGBM text (`Booster.model_to_string()`).

        Raises:
            DataError: the text is malformed, or holds what is not evaluated here: categorical splits, linear trees, averaged
                output (random forests), several trees per iteration (multiclass).
        """
        header, trees = _sections(text)
        names = _header_names(header)
        forest = _Forest()
        for i, tree in enumerate(trees):
            forest.add(i, tree, len(names))
        return cls(
            sha256_hex(text.encode()),
            names,
            header.get("objective", ""),
            np.array(forest.roots, np.int32),
            np.array(forest.feature, np.int32),
            np.array(forest.missing, np.int32),
            np.array(forest.default_left, np.int32),
            np.array(forest.left, np.int32),
            np.array(forest.right, np.int32),
            np.array(forest.threshold, np.float64),
            np.array(forest.values, np.float64),
        )


def require_logit(model: TreeModel) -> None:
    """Raise `DataError` unless the model's raw score is a logit, as `runtime.inference.predict` takes it to be."""
    if model.objective != LOGIT_OBJECTIVE:
        raise DataError(
            f"a model with objective {model.objective!r}",
            expected=LOGIT_OBJECTIVE,
            action="train with objective=binary and the default sigmoid",
        )


def raw_scores(model: TreeModel, features: Floats) -> Floats:
    """Return the raw score (before the sigmoid) of each row, equal to LightGBM's `predict(raw_score=True)` to the bit.

    Args:
        model: the parsed model.
        features: float64 [M, F], columns in the order of `model.feature_names`; NaN is missing.

    Returns:
        float64 [M].

    Raises:
        DataError: another number of columns.
    """
    if features.ndim != 2 or features.shape[1] != len(model.feature_names):
        raise DataError(
            f"features of shape {features.shape}",
            expected=f"[rows, {len(model.feature_names)}]: {', '.join(model.feature_names)}",
            action="compute the features with the spec of the bundle",
        )
    # a copy when needed: a read-only or strided input would compile a further specialisation
    rows = np.require(features, np.float64, ["C", "W"])
    out = np.empty(len(rows))
    score_rows(
        model.roots, model.feature, model.missing, model.default_left, model.left, model.right, model.threshold, model.values,
        rows, out,
    )  # fmt: skip
    return out


@core
def goes_left(value: float, threshold: float, missing: int, default_left: int) -> bool:
    """Decide one numerical split as `Tree::NumericalDecision` does."""
    if math.isnan(value):
        if missing == MISSING_NAN:
            return default_left == 1
        value = 0.0
    if -ZERO <= value <= ZERO:
        if missing == MISSING_ZERO:
            return default_left == 1
        value = 0.0  # LightGBM's prediction buffer drops such values
    return value <= threshold


@core
def score_rows(
    roots: Small, feature: Small, missing: Small, default_left: Small, left: Small, right: Small, threshold: Floats,
    values: Floats, rows: Floats, out: Floats,
) -> None:  # fmt: skip
    """Write the raw score of each row [M, F] into out [M]."""
    for m in range(rows.shape[0]):
        row = rows[m]
        total = 0.0
        for tree in range(roots.shape[0]):
            node = roots[tree]
            while node >= 0:
                if goes_left(row[feature[node]], threshold[node], missing[node], default_left[node]):
                    node = left[node]
                else:
                    node = right[node]
            total += values[-1 - node]
        out[m] = total


class _Forest:
    """Collects the flat lists while trees are read."""

    def __init__(self) -> None:
        self.roots: list[int] = []
        self.feature: list[int] = []
        self.missing: list[int] = []
        self.default_left: list[int] = []
        self.left: list[int] = []
        self.right: list[int] = []
        self.threshold: list[float] = []
        self.values: list[float] = []

    def add(self, number: int, tree: dict[str, str], features_n: int) -> None:
        """Append one tree; raise `DataError` where it is malformed or of an unknown kind."""
        where = f"tree {number}"
        leaves = _integer(tree, "num_leaves", where)
        if _integer(tree, "num_cat", where) != 0:
            raise _refusal(f"{where} with categorical splits")
        if tree.get("is_linear", "0") != "0":
            raise _refusal(f"{where} with linear leaves")
        values = _numbers(tree, "leaf_value", leaves, where)
        first_node, first_value = len(self.feature), len(self.values)
        self.values += values
        if leaves == 1:
            self.roots.append(-1 - first_value)
            return
        splits = leaves - 1
        decisions = _integers(tree, "decision_type", splits, where)
        features = _integers(tree, "split_feature", splits, where)
        children = [_integers(tree, side, splits, where) for side in ("left_child", "right_child")]
        _check_tree(where, leaves, decisions, features, children, features_n)
        self.roots.append(first_node)
        self.feature += features
        self.threshold += _numbers(tree, "threshold", splits, where)
        self.missing += [(decision >> 2) & 3 for decision in decisions]
        self.default_left += [1 if decision & DEFAULT_LEFT else 0 for decision in decisions]
        for target, side in zip((self.left, self.right), children, strict=True):
            target += [first_node + c if c >= 0 else c - first_value for c in side]


def _check_tree(
    where: str, leaves: int, decisions: list[int], features: list[int], children: list[list[int]], features_n: int
) -> None:
    if any(decision & CATEGORICAL for decision in decisions):
        raise _refusal(f"{where} with categorical splits")
    if any(not 0 <= decision <= 15 or (decision >> 2) == 3 for decision in decisions):
        raise _malformed(f"{where} with an unknown decision type")
    if any(not 0 <= feature < features_n for feature in features):
        raise _malformed(f"{where} splits on a feature outside 0 .. {features_n - 1}")
    # A child is split after its parent, so its number is higher: this also rules out cycles.
    reached = sorted(c for side in children for c in side)
    forward = all(c < 0 or c > node for side in children for node, c in enumerate(side))
    if not forward or reached != list(range(-leaves, 0)) + list(range(1, leaves - 1)):
        raise _malformed(f"{where} whose nodes do not form one tree")


def _sections(text: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Return the header and the trees as key-value maps."""
    lines = text.split("\n")
    if not lines or lines[0].strip() != "tree":
        raise _malformed(f"a model that begins with {lines[0][:40]!r}")
    if "end of trees" not in lines:
        raise _malformed("a model without `end of trees`: the text is truncated")
    header: dict[str, str] = {}
    trees: list[dict[str, str]] = []
    here = header
    for line in lines[1 : lines.index("end of trees")]:
        key, separator, value = line.partition("=")
        if key == "Tree":
            if value != str(len(trees)):
                raise _malformed(f"tree {value!r} in place {len(trees)}")
            here = {}
            trees.append(here)
        elif line.strip():
            if key in here:
                raise _malformed(f"{key!r} twice in one section")
            here[key] = value if separator else ""
    return header, trees


def _header_names(header: dict[str, str]) -> tuple[str, ...]:
    if header.get("version") not in KNOWN_VERSIONS:
        raise _refusal(f"a model of format {header.get('version')!r}")
    if "average_output" in header:
        raise _refusal("a model with averaged output (random forest)")
    if header.get("num_class") != "1" or header.get("num_tree_per_iteration") != "1":
        raise _refusal("a multiclass model")
    names = tuple(header.get("feature_names", "").split())
    if len(names) != _integer(header, "max_feature_idx", "the header") + 1:
        raise _malformed(f"{len(names)} feature names")
    return names


def _integer(section: dict[str, str], key: str, where: str) -> int:
    return _integers(section, key, 1, where)[0]


def _integers(section: dict[str, str], key: str, count: int, where: str) -> list[int]:
    try:
        found = [int(word) for word in section.get(key, "").split()]
    except ValueError as e:
        raise _malformed(f"{where} with a {key} that is not whole numbers") from e
    if len(found) != count:
        raise _malformed(f"{where} with {len(found)} of {key}, not {count}")
    return found


def _numbers(section: dict[str, str], key: str, count: int, where: str) -> list[float]:
    try:
        found = [float(word) for word in section.get(key, "").split()]
    except ValueError as e:
        raise _malformed(f"{where} with a {key} that is not numbers") from e
    # a split that only separates missing values has the threshold inf
    if len(found) != count or any(math.isnan(number) or (math.isinf(number) and key != "threshold") for number in found):
        raise _malformed(f"{where} with {len(found)} of {key}, not {count} usable ones")
    return found


def _refusal(got: str) -> DataError:
    return DataError(
        got,
        expected="gradient-boosted trees with numerical splits and one score, LightGBM text v3 or v4",
        action="train with objective=binary or regression, without categorical features, linear_tree or boosting=rf",
    )


def _malformed(got: str) -> DataError:
    return DataError(got, expected="a complete LightGBM text model", action="store the model again; check its digest")
