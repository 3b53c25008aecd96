"""A host for the panel where there is no Slicer: real MRML, real Qt, stand-ins for what lies between.

The scene, its nodes and the logics are Slicer's own (the ``slicer-core`` wheel); Qt is PySide6. What the Slicer
application adds to them is rebuilt here as far as the panel uses it, one matter a file:

- ``scene``: ``slicer.app``, ``slicer.mrmlScene`` and ``slicer.modules`` without a window; needs no Qt.
- ``pythonqt``: the module ``qt`` in the manner of PythonQt, where a property is an attribute.
- ``widgets``: the ``ctk`` and ``qMRML`` widgets that the form names, over the real scene.
- ``form_loader``: reads a Designer form with these widgets and makes its scene connections.
- ``parameter_node``: ``parameterNodeWrapper`` for plain types.
- ``scripted_module``: the base classes of a scripted module, and what Slicer's factory does with one.
- ``strict``: errors inside slots and observers, which Qt and VTK only print, fail the test.

It is a test bench, not a proof: Slicer itself remains the judge of what a real Slicer does.
"""
