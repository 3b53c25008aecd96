"""The engine of SuperResolution: volumes in, super-resolved volumes out.

Importing this package loads neither torch nor Qt nor Slicer; each part asks for what it needs when it is used.
"""

__version__ = "0.1.0"
