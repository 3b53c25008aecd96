"""The web page: Slicer's slice views of an image, its bicubic and its super-resolved enlargement, in a browser.

For one user on this machine. It shares the panel's scene code (``SuperResolutionLib.mrml*``), the engine and the child
process that computes; it is not part of the extension that Slicer packages.
"""
