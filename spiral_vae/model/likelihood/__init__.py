"""The kinds of likelihood; `base` is their contract."""

from spiral_vae.model.likelihood.base import Heads, Likelihood, Values
from spiral_vae.model.likelihood.covariance import (
    ClosedForm,
    Covariance,
    FullCovariance,
    Learned,
    PerDimension,
)
from spiral_vae.model.likelihood.fixed import Fixed
from spiral_vae.model.likelihood.geco import Geco
from spiral_vae.model.likelihood.heteroscedastic import Heteroscedastic

__all__ = [
    "ClosedForm",
    "Covariance",
    "Fixed",
    "FullCovariance",
    "Geco",
    "Heads",
    "Heteroscedastic",
    "Learned",
    "Likelihood",
    "PerDimension",
    "Values",
]
