"""A real MRML scene for each test (the slicer-core wheel), without Qt."""

from __future__ import annotations

import pytest


@pytest.fixture
def scene():
    # Imported here: a conftest that fails to import stops every test, not only these.
    from Testing.panel_host.scene import boot

    application = boot()
    application.mrmlScene().Clear(0)
    yield application.mrmlScene()
    application.mrmlScene().Clear(0)
