"""Networks and flows for rows that are images.

Estimators that take a `network` take any :class:`torch.nn.Module` that is called as
their docstrings say, those that take a `flow` a :class:`zuko.flows.Flow`.
"""

from skdre._nn.unet import UNet
from skdre.flows._images import ImageFlow

__all__ = ["ImageFlow", "UNet"]
