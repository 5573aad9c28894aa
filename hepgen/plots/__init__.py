"""Figures: a result goes in, a matplotlib figure comes out, and nothing else happens."""

from hepgen.plots.calibration import plot_coverage, plot_pulls, plot_ranks, plot_recovery
from hepgen.plots.comparison import plot_comparison, plot_spectrum
from hepgen.plots.corner import plot_corner
from hepgen.plots.information import plot_budget
from hepgen.plots.latent import plot_sheet, plot_traversal
from hepgen.plots.posterior import plot_posterior
from hepgen.plots.style import png, svg
from hepgen.plots.surrogates import (
    plot_classifier_output,
    plot_closure,
    plot_correlations,
    plot_feature_judgement,
    plot_layers,
    plot_roc,
)
from hepgen.plots.training import plot_training

__all__ = [
    "plot_budget",
    "plot_classifier_output",
    "plot_closure",
    "plot_comparison",
    "plot_corner",
    "plot_correlations",
    "plot_coverage",
    "plot_feature_judgement",
    "plot_layers",
    "plot_posterior",
    "plot_pulls",
    "plot_ranks",
    "plot_recovery",
    "plot_roc",
    "plot_sheet",
    "plot_spectrum",
    "plot_training",
    "plot_traversal",
    "png",
    "svg",
]
