"""Reports: a run, or several compared, as one HTML file that needs nothing else."""

from p2pfl_simulations.report.run_report import render_report

__all__ = ["render_report"]
