"""What the package imports before it is asked to do anything."""

from __future__ import annotations

import json
import subprocess
import sys

SLOW = {
    "onnx",
    "onnxruntime",
    "cv2",
    "torch",
    "tensorflow",
    "urllib3",
    "requests",
    "pooch",
    "email",
    "filelock",
}
PROGRAM = """
import json, sys
import facemask_zoo
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_nothing_slow_is_imported_unasked():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    plain = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("import facemask_zoo", "import numpy, PIL.Image")],
        capture_output=True,
        text=True,
        check=True,
    )
    added = set(json.loads(run.stdout)) - set(json.loads(plain.stdout))
    assert "facemask_zoo" in added
    assert not added & SLOW
