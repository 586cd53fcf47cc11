"""Measure detectors: average precision, curves, confusion, and the protocol of dataroots."""

from facemask_zoo.evaluation.average_precision import Average, average_precision
from facemask_zoo.evaluation.confusion import Confusion, confusion
from facemask_zoo.evaluation.curves import Curve, Operating, curves, threshold_table
from facemask_zoo.evaluation.dataroots import Dataroots, dataroots
from facemask_zoo.evaluation.report import write_report
from facemask_zoo.evaluation.runs import PROTOCOLS, Run, evaluate
from facemask_zoo.evaluation.samples import Sample

__all__ = [
    "PROTOCOLS",
    "Average",
    "Confusion",
    "Curve",
    "Dataroots",
    "Operating",
    "Run",
    "Sample",
    "average_precision",
    "confusion",
    "curves",
    "dataroots",
    "evaluate",
    "threshold_table",
    "write_report",
]
