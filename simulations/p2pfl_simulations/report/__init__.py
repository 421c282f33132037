"""Reports: a run, or several compared, as one HTML file that needs nothing else."""

from p2pfl_simulations.report.comparison import render_comparison
from p2pfl_simulations.report.run_report import render_report

__all__ = ["render_comparison", "render_report"]
