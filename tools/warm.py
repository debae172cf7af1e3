"""Compile everything that is compiled, once, when the project is installed: the first demo then starts warm.

What is cached is keyed by the content of the sources and the compiler (runtime/jit.py), so this can never make stale code run.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from runtime.inference.features import compute
from runtime.inference.panel import BarPanel
from runtime.inference.trees import TreeModel, raw_scores
from tools.bench.ours import measure_core

BARS_N = 48
ONE_SPLIT = """tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=0
objective=binary sigmoid:1
feature_names=x
feature_infos=[0:1]
tree_sizes=1

Tree=0
num_leaves=2
num_cat=0
split_feature=0
split_gain=1
threshold=0.5
decision_type=2
left_child=-1
right_child=-2
leaf_value=-1 1
leaf_weight=1 1
leaf_count=1 1
internal_value=0
internal_weight=2
internal_count=2
is_linear=0
shrinkage=1


end of trees
"""


def main() -> int:
    """Run the smallest input through the core, the features and the tree evaluator."""
    began_s = time.perf_counter()
    measure_core(BARS_N)
    price = np.full((BARS_N, 2), 100.0)
    open_t = 3_600 * np.arange(BARS_N, dtype=np.int64)
    panel = BarPanel(("BTC", "ETH"), 3_600, open_t, price, price, price, price, price)
    compute(panel, np.array([BARS_N - 1], np.int64))
    raw_scores(TreeModel.parse(ONE_SPLIT), np.zeros((1, 1)))
    print(f"compiled code is ready ({time.perf_counter() - began_s:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
