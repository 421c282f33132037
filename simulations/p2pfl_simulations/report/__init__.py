"""Reports: a run, or several compared, as one HTML file that needs nothing else."""

from p2pfl_simulations.report.comparison import render_comparison
from p2pfl_simulations.report.comparison_charts import compared_rows, comparison_drawings
from p2pfl_simulations.report.drawing import Drawing, save_drawings
from p2pfl_simulations.report.run_charts import run_drawings
from p2pfl_simulations.report.run_report import render_report

__all__ = [
    "Drawing",
    "compared_rows",
    "comparison_drawings",
    "render_comparison",
    "render_report",
    "run_drawings",
    "save_drawings",
]
