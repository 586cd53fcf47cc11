"""Where the tests find their files."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
SHARED = ROOT.parent / "shared"
"""Files that lie beside a developer's checkout; users do not have them."""
