"""Published claims that exact answers can settle, and kinds that this takes: docs/claims.md."""

from experiments.claims.absolute_value import AbsoluteValue as AbsoluteValue
from experiments.claims.denoising import Denoising as Denoising
