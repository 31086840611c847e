"""Information from density ratios: mutual information with a standard error.

Means of the log ratio at rows that the ratio was not fitted on. Cross-fitting, and the
means with their standard errors, stand in files of their own, for every quantity that
is such a mean.
"""

from skdre.information._means import Estimate
from skdre.information._mutual_information import (
    MutualInformation,
    mutual_information,
)

__all__ = ["Estimate", "MutualInformation", "mutual_information"]
