"""Which points of MediaPipe's face mesh stand for which of the 68 iBUG landmarks.

This file imports nothing, so that an interpreter which has MediaPipe alone can run beside it.
"""

from __future__ import annotations

# The pairs are mirror images of each other: jaw, brows, nose, eyes and lips, as iBUG orders them.
MESH_TO_IBUG = (
    *(127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
"""For each of the 68 landmarks, its point among the 468 of the mesh."""
