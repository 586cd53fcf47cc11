"""The zoo against what people would use instead, all on this machine in one run.

For every installed framework, in a process of its own and all in turns: the network alone and
detection by the zoo; the way of AIZOO's scripts on the same backend (resize, forward, decode every
anchor, suppress box by box); and bare calls of onnxruntime, OpenVINO and LiteRT on the same file.
Detectors of other projects are timed alone: they do another task.

Usage: python -m facemask_zoo.benchmarks.peers [--model zoo-260] [--framework NAME ...]
           [--threads 2] [--yunet face_detection_yunet.onnx] [--output peers.json] [--overwrite]
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import logging
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.backends import FRAMEWORKS
from facemask_zoo.benchmarks import environment, markdown
from facemask_zoo.benchmarks.bench_tables import title
from facemask_zoo.benchmarks.cases import Settings, check_models, plan, prepared
from facemask_zoo.benchmarks.processes import run_python, write_answer
from facemask_zoo.benchmarks.timing import times_in_turns
from facemask_zoo.benchmarks.worker import encoded, network_alone
from facemask_zoo.cards import DEFAULT_MODEL
from facemask_zoo.detector import Detector
from facemask_zoo.errors import DeviceError, FaceMaskZooError, InvalidArgumentError
from facemask_zoo.extras import require
from facemask_zoo.files import check_target, write_json
from facemask_zoo.images import load_image
from facemask_zoo.ssd import anchors, postprocess
from facemask_zoo.ssd.preprocess import resize
from facemask_zoo.terminal import guarded

log = logging.getLogger(__name__)

KIND = "facemask-zoo peers"
MODULE = "facemask_zoo.benchmarks.peers"

NETWORK, ARRAY, LOW, BARE, AIZOO = "network", "array", "decode", "bare", "AIZOO's way"
"""The zoo's network alone, its detection in an array, its postprocessing of all that scores above
``LOW_CONF``; a bare call of the framework, and detection as AIZOO goes about it."""

LOW_CONF = 0.01
_CONF, _IOU, _EPSILON = 0.5, 0.4, 1e-3

Pixels = NDArray[np.uint8]
Times = dict[str, list[float]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and, if asked, write the results."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    if args.worker:
        write_answer(_answer(args))
        return 0
    if args.output:
        check_target(args.output, overwrite=args.overwrite)
    results = measure(args)
    sys.stdout.write(table(results) + "\n")
    if args.output:
        write_json(args.output, results, overwrite=args.overwrite)
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Time every framework and every other detector, each in fresh processes, in turns.

    Returns:
        JSON values: machine, settings, median milliseconds of each call by framework, and of other
        detectors.

    Raises:
        FaceMaskZooError: An option is not usable, or nothing runs; the former before measuring.
    """
    settings = Settings(args.rounds, args.warm_up, args.repeats, args.picture)
    cases = plan(args.framework, [args.model], ["fp32"], [1], [args.threads])
    if args.yunet:
        _check_yunet(args.yunet)
    check_models([args.model], trust=False)
    problems = prepared(cases, settings)
    names = [case.framework for case in cases if case not in problems]
    others = [name for name, wanted in _others(args) if wanted]
    found: dict[str, list[Times]] = {name: [] for name in (*names, *others)}
    failed = {case.framework: why for case, why in problems.items()}
    for number in range(settings.rounds):
        for name, runs in found.items():
            log.info("round %d of %d: %s", number + 1, settings.rounds, name)
            answer = run_python("-m", MODULE, *_words(args, name))
            if "problem" in answer:
                failed[name] = str(answer["problem"])
            else:
                runs.append(answer)
    rows = {name: _medians(runs) for name, runs in found.items() if runs and name not in failed}
    if not rows:
        raise DeviceError(f"Nothing runs here: {failed}")
    return {
        "kind": KIND,
        "machine": environment.describe(),
        "model": args.model,
        "threads": args.threads,
        "settings": {"rounds": args.rounds, "warm_up": args.warm_up, "repeats": args.repeats},
        "rows": {name: row for name, row in rows.items() if name in names},
        "others": {name: row for name, row in rows.items() if name in others},
        "failed": failed,
    }


def table(results: Mapping[str, Any]) -> str:
    """The results in Markdown: milliseconds, and what the zoo's detection is of the others'."""
    header = (
        "Framework",
        "Network",
        "Bare call",
        "Zoo, array",
        "Zoo / bare",
        AIZOO,
        f"Zoo / {AIZOO}",
    )
    lines = []
    for name, row in results["rows"].items():
        floor = row.get(BARE, row[NETWORK])
        lines.append(
            (
                title(name),
                f"{row[NETWORK]:.1f}",
                f"{row[BARE]:.1f}" if BARE in row else "-",
                f"{row[ARRAY]:.1f}",
                f"{row[ARRAY] / floor:.2f}",
                f"{row[AIZOO]:.1f}" if AIZOO in row else "-",
                f"{row[ARRAY] / row[AIZOO]:.2f}" if AIZOO in row else "-",
            )
        )
    lines += [
        (name, "-", "-", f"{row[ARRAY]:.1f}", "-", "-", "-")
        for name, row in results["others"].items()
    ]
    settings, machine = results["settings"], results["machine"]
    failed = "".join(f" {name} did not run: {why}." for name, why in results["failed"].items())
    foot = (
        f"Model {results['model']}, {results['threads']} threads, one array, "
        f"median milliseconds of {settings['rounds']} processes x {settings['repeats']} calls. "
        f"Where there is no bare call, the zoo's network alone stands for it. "
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}.{failed}"
    )
    return f"{markdown.table(header, lines)}\n\n{foot}"


def zoo_calls(detector: Detector, picture: Pixels) -> dict[str, Callable[[], object]]:
    """What the zoo does: the network alone, detection, and postprocessing at a low threshold."""
    card = detector.card
    height, width = picture.shape[:2]
    values = card.preprocessing(picture, *card.detector.graph.input_shape[1:])
    loc, scores = (each[0].copy() for each in detector.forward(values[None]))
    decode = functools.partial(postprocess, loc, scores, card.detector, (width, height))
    return {
        NETWORK: network_alone(detector, picture, 1),
        ARRAY: lambda: detector.detect(picture),
        LOW: lambda: decode(conf=LOW_CONF, iou=detector.iou, kind=detector.nms),
    }


def aizoo_detect(detector: Detector, picture: Pixels) -> list[list[float]]:
    """Detection as AIZOO's scripts go about it, on the zoo's backend.

    The picture is resized and divided by 255 with copies on the way; every anchor is decoded;
    duplicates are suppressed one kept box at a time.

    Args:
        detector: The model and its framework.
        picture: (H, W, 3) RGB.

    Returns:
        Rows of class id, score, xmin, ymin, xmax and ymax in whole pixels.
    """
    height, width = picture.shape[:2]
    _, rows, columns = detector.card.detector.graph.input_shape
    scaled = resize(picture, columns, rows) / 255.0
    batch = np.expand_dims(scaled, 0).transpose(0, 3, 1, 2).astype(np.float32)
    loc, scores = detector.forward(batch)
    boxes = _decode_all(loc[0], detector)
    best, classes = scores[0].max(axis=1), scores[0].argmax(axis=1)
    found = []
    for index in _suppress_one_by_one(boxes, best):
        left, top, right, bottom = boxes[index]
        low = (max(0, int(left * width)), max(0, int(top * height)))
        high = (min(int(right * width), width), min(int(bottom * height), height))
        found.append([int(classes[index]), float(best[index]), *low, *high])
    return found


def _decode_all(loc: NDArray[np.float32], detector: Detector) -> NDArray[np.float64]:
    corners = anchors(detector.card.detector)
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    size = corners[:, 2:] - corners[:, :2]
    offsets = loc * np.array(detector.card.detector.variances)
    middle = offsets[:, :2] * size + centre
    extent = np.exp(offsets[:, 2:]) * size
    return np.asarray(np.concatenate([middle - extent / 2, middle + extent / 2], axis=1))


def _suppress_one_by_one(boxes: NDArray[np.float64], scores: NDArray[np.float32]) -> list[int]:
    """Keep the best that is left, compare it with all the others, and so on."""
    candidates = np.flatnonzero(scores > _CONF)
    order = candidates[np.argsort(scores[candidates])]
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + _EPSILON, axis=1)
    kept = []
    while order.size:
        best, order = int(order[-1]), order[:-1]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.prod(np.maximum(0, high - low), axis=1)
        order = order[shared / (areas[best] + areas[order] - shared) <= _IOU]
    return kept


def bare_onnx(path: Path, batch: NDArray[np.float32], threads: int) -> Callable[[], object]:
    """A session of onnxruntime, as its own documentation has it."""
    onnxruntime = require("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: batch}
    return lambda: session.run(None, feed)


def bare_openvino(path: Path, batch: NDArray[np.float32], threads: int) -> Callable[[], object]:
    """OpenVINO in single precision, tuned for latency."""
    openvino = require("openvino", "openvino")
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    settings["INFERENCE_PRECISION_HINT"] = "f32"
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
    return lambda: request.infer([batch])


def bare_tflite(path: Path, batch: NDArray[np.float32], threads: int) -> Callable[[], object]:
    """The LiteRT interpreter."""
    interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(
        str(path), num_threads=threads
    )
    images = np.ascontiguousarray(batch.transpose(0, 2, 3, 1))
    start = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(start, images.shape)
    interpreter.allocate_tensors()
    ends = [part["index"] for part in interpreter.get_output_details()]

    def call() -> list[Any]:
        interpreter.set_tensor(start, images)
        interpreter.invoke()
        return [interpreter.get_tensor(end) for end in ends]

    return call


BARE_CALLS = {"onnx": bare_onnx, "openvino": bare_openvino, "tflite": bare_tflite}


def yunet(path: Path, picture: Pixels) -> Callable[[], object]:
    """OpenCV's FaceDetectorYN on the whole picture.

    Raises:
        InvalidArgumentError: OpenCV does not accept the file.
    """
    cv2 = require("cv2", "opencv")
    try:
        detector = cv2.FaceDetectorYN.create(str(path), "", picture.shape[1::-1])
    except cv2.error as error:
        raise InvalidArgumentError(f"--yunet: OpenCV does not accept {path}: {error}") from error
    bgr = np.ascontiguousarray(picture[:, :, ::-1])
    return lambda: detector.detect(bgr)


def mediapipe_faces(picture: Pixels) -> Callable[[], object]:
    """MediaPipe's face detector for short range, which its package brings along."""
    detector = require("mediapipe", "mediapipe").solutions.face_detection.FaceDetection()
    return lambda: detector.process(picture)


def _answer(args: argparse.Namespace) -> dict[str, Any]:
    """In a process of its own: the times of one framework or of another detector."""
    try:
        calls = _calls(args)
        turns = times_in_turns(calls, 2, args.warm_up, -(-args.repeats // 2))
    except FaceMaskZooError as error:
        return {"problem": str(error)}
    return dict(turns)


def _calls(args: argparse.Namespace) -> dict[str, Callable[[], object]]:
    picture = load_image(encoded(args.picture))
    if args.worker == "YuNet":
        require("cv2", "opencv").setNumThreads(args.threads)
        return {ARRAY: yunet(args.yunet, picture)}
    if args.worker == "MediaPipe":
        return {ARRAY: mediapipe_faces(picture)}
    detector = Detector.load(args.model, framework=args.worker, threads=args.threads)
    calls = zoo_calls(detector, picture)
    if detector.card.preprocessing.fit == "squeeze":
        calls[AIZOO] = lambda: aizoo_detect(detector, picture)
    bare = BARE_CALLS.get(args.worker)
    if bare:
        _, height, width = detector.card.detector.graph.input_shape
        batch = detector.card.preprocessing(picture, height, width)[None]
        calls[BARE] = bare(detector.backend.path, batch, args.threads)
    return calls


def _others(args: argparse.Namespace) -> Iterator[tuple[str, bool]]:
    yield "YuNet", bool(args.yunet)
    yield "MediaPipe", importlib.util.find_spec("mediapipe") is not None


def _check_yunet(path: Path) -> None:
    if not path.is_file():
        raise InvalidArgumentError(f"--yunet: there is no file {path}.")
    yunet(path, np.zeros((64, 64, 3), np.uint8))


def _medians(runs: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, float]:
    return {
        name: statistics.median(value for run in runs for value in run[name]) for name in runs[0]
    }


def _words(args: argparse.Namespace, worker: str) -> list[str]:
    words = ["--worker", worker, "--model", args.model, "--threads", str(args.threads)]
    words += ["--warm-up", str(args.warm_up), "--repeats", str(args.repeats)]
    words += ["--picture", args.picture] if args.picture else []
    return words + (["--yunet", str(args.yunet)] if args.yunet else [])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Time the zoo against what else there is.")
    standard = Settings()
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument(
        "--framework", nargs="+", default=[], help=f"{', '.join(FRAMEWORKS)} (those installed)"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--picture", default="", help="photograph (a drawing)")
    parser.add_argument("--yunet", type=Path, metavar="FILE", help="network for FaceDetectorYN")
    parser.add_argument("--rounds", type=int, default=standard.rounds)
    parser.add_argument("--warm-up", type=int, default=standard.warm_up)
    parser.add_argument("--repeats", type=int, default=standard.repeats)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(guarded(main, "peers"))
