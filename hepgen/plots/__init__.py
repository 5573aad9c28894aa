"""Figures: a result goes in, a matplotlib figure comes out, and nothing else happens."""

from hepgen.plots.binning import plot_binning
from hepgen.plots.calibration import plot_coverage, plot_pulls, plot_ranks, plot_recovery
from hepgen.plots.comparison import plot_comparison, plot_spectrum
from hepgen.plots.contours import plot_contours
from hepgen.plots.corner import plot_corner
from hepgen.plots.coverage_map import plot_coverage_map
from hepgen.plots.error_budget import plot_error_budget
from hepgen.plots.event_sets import plot_bias
from hepgen.plots.expected_errors import plot_expected_errors
from hepgen.plots.impacts import plot_impacts
from hepgen.plots.information import plot_budget
from hepgen.plots.intervals import plot_intervals
from hepgen.plots.latent import plot_sheet, plot_traversal
from hepgen.plots.limits import plot_cls, plot_limits
from hepgen.plots.posterior import plot_posterior
from hepgen.plots.scan import plot_scan
from hepgen.plots.search import plot_p_values
from hepgen.plots.statistics import plot_null, plot_ratio_calibration, plot_statistics
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
    "plot_binning",
    "plot_budget",
    "plot_classifier_output",
    "plot_closure",
    "plot_cls",
    "plot_comparison",
    "plot_contours",
    "plot_corner",
    "plot_correlations",
    "plot_coverage",
    "plot_coverage_map",
    "plot_ecdf_difference",
    "plot_error_budget",
    "plot_expected_coverage",
    "plot_expected_errors",
    "plot_feature_judgement",
    "plot_impacts",
    "plot_intervals",
    "plot_layers",
    "plot_limits",
    "plot_null",
    "plot_p_values",
    "plot_posterior",
    "plot_pulls",
    "plot_ranks",
    "plot_ratio_calibration",
    "plot_recovery",
    "plot_roc",
    "plot_scan",
    "plot_sheet",
    "plot_spectrum",
    "plot_statistics",
    "plot_training",
    "plot_traversal",
    "png",
    "svg",
]
