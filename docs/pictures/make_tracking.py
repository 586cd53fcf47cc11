"""Makes ``tracking.jpg`` and ``compliance.png``: three people walk past a door.

Usage: PYTHONPATH=tests python docs/pictures/make_tracking.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tracking.scenes import Actor, film, walk

from facemask_zoo.images import save_image
from facemask_zoo.video import Clip, frames

HERE = Path(__file__).parent
SECONDS, SHOWN_AT = 24, 6.0
ACTORS = [
    Actor(walk((20, 10), (7, 0))),
    Actor(walk((330, 120), (-13, 0)), masked=lambda time: time < 14),
    Actor(walk((200, 130), (0, 0), away=(0, 17)), masked=lambda _: True),
]


def main() -> None:
    """Film them, watch the film, and keep one frame and the plot."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gate = film(folder / "gate.mp4", ACTORS, SECONDS)
        drawn = folder / "drawn.mp4"
        plot = HERE / "compliance.png"
        words = ["watch", gate, "--after", 5, "--zone", "door=5,5,230,5,230,120,5,120"]
        words += ["--interval", 3, "--plot", plot, "--output", drawn, "--overwrite"]
        subprocess.run([sys.executable, "-m", "facemask_zoo", *map(str, words)], check=True)
        frame = next(iter(frames(drawn, clip=Clip(start=SHOWN_AT))))
        save_image(frame.image, HERE / "tracking.jpg", overwrite=True, quality=90)


if __name__ == "__main__":
    main()
