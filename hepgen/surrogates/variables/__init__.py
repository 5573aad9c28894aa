"""Variables that are not plain real numbers: angles, counts, and components that may be zero."""

from __future__ import annotations

from hepgen.surrogates.variables.categorical import CategoricalHead
from hepgen.surrogates.variables.mixed import Mixed, mixed_model

__all__ = ["CategoricalHead", "Mixed", "mixed_model"]
