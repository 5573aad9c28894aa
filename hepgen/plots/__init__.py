"""Figures: a result goes in, a matplotlib figure comes out, and nothing else happens."""

from hepgen.plots.calibration import plot_coverage, plot_pulls, plot_ranks, plot_recovery
from hepgen.plots.comparison import plot_comparison, plot_spectrum
from hepgen.plots.corner import plot_corner
from hepgen.plots.event_sets import plot_bias
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
from hepgen.plots.uniformity import plot_ecdf_difference, plot_expected_coverage

__all__ = [
    "plot_bias",
    "plot_classifier_output",
    "plot_closure",
    "plot_comparison",
    "plot_corner",
    "plot_correlations",
    "plot_coverage",
    "plot_ecdf_difference",
    "plot_expected_coverage",
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
