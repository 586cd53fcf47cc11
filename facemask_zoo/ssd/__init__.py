"""What every framework shares, in NumPy alone: network, anchors, pre- and post-processing."""

from facemask_zoo.ssd.anchors import anchors
from facemask_zoo.ssd.boxes import blend, decode, encode, iou, nms
from facemask_zoo.ssd.network import Builder, Convolution, Level, Network, Stage, build
from facemask_zoo.ssd.postprocess import postprocess
from facemask_zoo.ssd.preprocess import preprocess

__all__ = [
    "Builder",
    "Convolution",
    "Level",
    "Network",
    "Stage",
    "anchors",
    "blend",
    "build",
    "decode",
    "encode",
    "iou",
    "nms",
    "postprocess",
    "preprocess",
]
