"""A host for the panel where there is no Slicer: real MRML, real Qt, stand-ins for what lies between.

The scene, its nodes and the logics are Slicer's own (the ``slicer-core`` wheel); Qt is PySide6. What the Slicer
application adds to them is rebuilt here as far as the panel uses it, one matter a file:

- ``scene``: ``slicer.app``, ``slicer.mrmlScene`` and ``slicer.modules`` without a window; needs no Qt.
- ``pythonqt``: the module ``qt`` in the manner of PythonQt, where a property is an attribute.
- ``widgets``: the ``ctk`` and ``qMRML`` widgets that the form names, over the real scene.
- ``form_loader``: reads a Designer form with these widgets and makes its scene connections.
- ``parameter_node``, ``parameter_gui``: ``parameterNodeWrapper`` for plain types, and its connections to widgets.
- ``scripted_module``: the base classes of a scripted module, and what Slicer's factory does with one.
- ``layout``: a layout manager with slice views, Slicer's own slice logics, painted without OpenGL.
- ``self_tests``: what the unittest files that Slicer runs as well find.
- ``strict``: errors that Qt, VTK and threads only print fail the test.
- ``pythonqt_rules``: what PythonQt would refuse and PySide6 takes, found in the source.

It is a test bench, not a proof: Slicer itself remains the judge of what a real Slicer does. README.md says how far it
agrees with Slicer.
"""
