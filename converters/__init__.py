"""From any format to any other: ``formats`` has one file per format, ``conversion`` the proof.

Nothing is imported here: formats lie at the bottom of the package, conversion at its top.
"""
