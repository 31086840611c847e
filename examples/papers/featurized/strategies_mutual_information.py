"""Mutual information by training strategy: Figures 4 and 9.

    python examples/papers/featurized/strategies_mutual_information.py \\
        --out results/featurized

The problem, its size and the table are those of mutual_information.py. The flow is the
paper's MAF, five blocks of one hidden layer of 100 units, and the classifier its
network of three layers of 200 (appendix E). A finished run stands in
strategies_mutual_information.csv and is not run again.
"""

import sys
from functools import partial
from pathlib import Path

from skdre import FlowClassifierRatio

sys.path.append(str(Path(__file__).resolve().parent))

import mutual_information


def ratio(strategy, alpha=0.9):
    """A flow and a classifier of the paper's sizes, trained by a strategy."""

    def make(seed):
        return FlowClassifierRatio(
            strategy,
            alpha=alpha,
            flow="maf",
            n_transforms=5,
            flow_hidden_features=(100,),
            # The columns are standard normal as they are.
            marginals="standardize",
            hidden_features=(200, 200, 200),
            n_estimators=1,
            random_state=seed,
        )

    return make


METHODS = {
    "baseline: classifier in x": mutual_information.classifier,
    "separate": ratio("separate"),
    **{f"joint, alpha = {alpha}": ratio("joint", alpha) for alpha in (0.1, 0.5, 0.9)},
    "discriminative": ratio("discriminative"),
}

main = partial(
    mutual_information.main,
    methods=METHODS,
    name="strategies_mutual_information",
    doc=__doc__,
)


if __name__ == "__main__":
    main()
