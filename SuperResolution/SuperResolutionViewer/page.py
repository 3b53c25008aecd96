"""The page: what stands where. What it does is in ``control.py``, ``static/page.js`` and ``static/page.css``."""

from __future__ import annotations

from pathlib import Path

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import html
from trame.widgets import vuetify3 as v3

from SuperResolutionLib.upscaler import NOTICE

from .slices import LENS, VIEWS

STATIC = Path(__file__).with_name("static")

#: trame's description of a module: a folder to serve, and what of it the page loads.
MODULE = {
    "serve": {"__superresolution": str(STATIC)},
    "scripts": ["__superresolution/page.js"],
    "styles": ["__superresolution/page.css"],
}

EXTENTS = [
    {"title": "Whole volume", "value": "volume"},
    {"title": "Current slice", "value": "slice"},
    {"title": "Region", "value": "region"},
]
ORIENTATIONS = [
    {"title": "As acquired", "value": "volume"},
    {"title": "Axial", "value": "Axial"},
    {"title": "Coronal", "value": "Coronal"},
    {"title": "Sagittal", "value": "Sagittal"},
]
TOOLS = [
    ("window", "mdi-contrast-circle", "Drag: window and level"),
    ("pan", "mdi-cursor-move", "Drag: pan"),
    ("zoom", "mdi-magnify", "Drag: zoom"),
    ("scroll", "mdi-layers", "Drag: scroll"),
]
DOWNLOADS = [
    ("sr.nrrd", "Super-resolved, NRRD"),
    ("sr.nii.gz", "Super-resolved, NIfTI"),
    ("bicubic.nrrd", "Bicubic, NRRD"),
    ("bicubic.nii.gz", "Bicubic, NIfTI"),
    ("report.json", "Report and provenance, JSON"),
]
ACCEPTED = ".nii,.gz,.nrrd,.mha,.png,.tif,.tiff,.jpg,.jpeg,.dcm,application/dicom"

COMPACT = {"density": "compact", "hide_details": True, "variant": "outlined"}


def build(server, control) -> None:
    """Lay the page out on a trame server; ``control`` is the Control that its buttons call."""
    server.enable_module(MODULE)
    with VAppLayout(server) as layout:
        layout.root.theme = "dark"
        with v3.VAppBar(density="compact", flat=True):
            v3.VAppBarNavIcon(click="drawer = !drawer", classes="drawer-button", raw_attrs=['aria-label="Settings"'])
            html.Span("SuperResolution", classes="title mr-4")
            html.Span("{{ image_text }}", classes="image-text text-truncate")
            v3.VSpacer()
            _downloads()
        with v3.VNavigationDrawer(v_model=("drawer", None), width=300, classes="settings"):
            with html.Div(classes="pa-3 d-flex flex-column ga-3"):
                _open(control)
                _upscale(control)
                _reference(control)
                html.Div(f"{NOTICE}.", classes="text-caption notice")
        with v3.VMain():
            with html.Div(classes="work-area"):
                _toolbar(control)
                _views()
                _readout()


def _named(title: str) -> list[str]:
    """The attributes that say what an element is for, to eyes and to screen readers."""
    return [f'title="{title}"', f'aria-label="{title}"']


def _open(control) -> None:
    with html.Div(classes="d-flex ga-2"):
        _file_button("image", "Open file", "mdi-folder-open")
        v3.VBtn("Example", click=control.open_example, disabled=("running",), variant="tonal", classes="example-button")
    v3.VProgressLinear(model_value=("upload_percent", 0), v_show="upload_percent > 0", classes="upload-progress")
    with v3.VAlert(
        model_value=("!!error",), update_modelValue="error = ''", closable=True, type="error", density="compact",
        classes="error-text",
    ):  # fmt: skip
        html.Span("{{ error }}")


def _file_button(purpose: str, text: str, icon: str) -> None:
    """A button in front of a file field, whose files the script uploads."""
    field = f"document.getElementById('{purpose}-file').click()"
    v3.VBtn(text, prepend_icon=icon, click=f"window.{field}", disabled=("running",), variant="tonal")
    html.Input(
        classes="file-field",
        raw_attrs=["type=file", "multiple", f'accept="{ACCEPTED}"', f"id={purpose}-file", f"data-purpose={purpose}"],
    )


def _upscale(control) -> None:
    v3.VSelect(
        v_model=("family", ""), items=("families", []), label="Model", classes="model-select",
        disabled=("running",), **COMPACT,
    )  # fmt: skip
    html.Div("{{ model_text }}", classes="text-caption model-text")
    with html.Div(classes="d-flex ga-2"):
        v3.VSelect(
            v_model=("scale", 4), items=("scales", []), label="Scale", classes="scale-select",
            disabled=("running",), **COMPACT,
        )  # fmt: skip
        v3.VSelect(
            v_model=("extent", "volume"), items=("extents", EXTENTS), label="Extent", classes="extent-select",
            disabled=("running",), **COMPACT,
        )  # fmt: skip
    with html.Div(v_show="extent === 'region'", classes="region-box"):
        for axis in "ijk":
            v3.VRangeSlider(
                v_model=(f"region_{axis}", [0, 1]), max=(f"length_{axis}", 1), min=0, step=1, label=axis,
                thumb_label=True, strict=True, color="primary", **{**COMPACT, "variant": None},
            )  # fmt: skip
        v3.VBtn("What the views show", click=control.region_from_view, size="small", variant="tonal")
    v3.VCheckbox(v_model=("consistent", True), label="Consistent with the input", classes="consistent-box", **COMPACT)
    html.Div("{{ outlook }}", classes="text-caption outlook")
    v3.VBtn(
        "{{ running ? 'Cancel' : 'Upscale' }}", click=control.upscale_or_cancel, block=True, variant="flat",
        disabled=("!image_text",), color=("running ? 'warning' : 'primary'",), classes="upscale-button",
    )  # fmt: skip
    with html.Div(v_show="running"):
        v3.VProgressLinear(model_value=("percent", 0), height=8, rounded=True, classes="run-progress")
    html.Div("{{ status }}", classes="text-caption status-text", raw_attrs=["aria-live=polite"])


def _reference(control) -> None:
    v3.VDivider()
    with html.Div(classes="d-flex ga-2 flex-wrap"):
        _file_button("reference", "Reference", "mdi-target")
        v3.VBtn(
            "Reduce first", click=control.reduce, disabled=("running || !image_text",), variant="tonal",
            classes="reduce-button", raw_attrs=_named("Shrink the image by the scale; the original is the reference"),
        )  # fmt: skip
    html.Div("{{ reference_text }}", classes="text-caption reference-text")
    with v3.VTable(density="compact", v_show="scores.length", classes="scores"):
        with html.Thead(), html.Tr():
            for title in ("", "PSNR (dB)", "SSIM"):
                html.Th(title)
        with html.Tbody(), html.Tr(v_for="row in scores", key="row.method"):
            for cell in ("method", "psnr", "ssim"):
                html.Td("{{ row." + cell + " }}")


def _downloads() -> None:
    with v3.VMenu():
        with v3.Template(v_slot_activator="{ props }"):
            v3.VBtn("Save", v_bind="props", prepend_icon="mdi-download", classes="save-button")
        with v3.VList(density="compact"):
            for name, title in DOWNLOADS:
                _download(name, title, "!has_result")
            _download("views.png", "Picture of the views, PNG", "!image_text")


def _download(name: str, title: str, disabled: str) -> None:
    # Without the attribute the browser would leave the page first, and trame would close its connection.
    v3.VListItem(title=title, href=f"download/{name}", disabled=(disabled,), raw_attrs=["download"])


def _toolbar(control) -> None:
    with html.Div(classes="tools d-flex align-center flex-wrap ga-2 px-2 py-1"):
        with v3.VBtnToggle(v_model=("tool", "window"), mandatory=True, density="compact", color="primary"):
            for value, icon, title in TOOLS:
                v3.VBtn(icon=icon, value=value, size="small", raw_attrs=_named(title))
        v3.VSelect(
            v_model=("orientation", "volume"), items=("orientations", ORIENTATIONS), classes="orientation-select",
            **COMPACT,
        )  # fmt: skip
        with v3.VBtnToggle(v_model=("arrangement", "side"), mandatory=True, density="compact", color="primary"):
            v3.VBtn("Side by side", value="side", size="small")
            v3.VBtn("Swipe", value="swipe", size="small", disabled=("!has_result",), classes="swipe-button")
        v3.VBtn("Flicker", click=control.flicker, disabled=("!has_result",), size="small", raw_attrs=_named("Space"))
        for name, text in (("interpolate", "Smooth"), ("difference", "Difference"), ("magnifier", "Magnifier")):
            v3.VCheckbox(v_model=(name, False), label=text, classes=f"{name}-box", **COMPACT)
        v3.VBtn("Fit", click=control.fit, size="small", raw_attrs=_named("Show all of the image (0)"))


def _views() -> None:
    with html.Div(classes=("['views', arrangement]",), raw_attrs=["id=views", "tabindex=0"]):
        for view in VIEWS:
            with html.Div(classes="pane", v_show=f"shown.includes('{view}')", raw_attrs=[f"data-view={view}"]):
                html.Canvas()
                html.Span("{{ labels." + view + " }}", classes="label")
        html.Div(classes="divider", v_show="arrangement === 'swipe' && has_result", raw_attrs=_named("Drag to compare"))
        html.Div("Open an image, or the example.", v_show="!image_text", classes="hint")
        with html.Div(classes="lenses", v_show="magnifier && image_text"):
            for view in ("input", "bicubic", "sr"):
                with html.Div(classes="lens", v_show=f"shown.includes('{view}')"):
                    html.Canvas(raw_attrs=[f"data-lens={view}", f"width={LENS}", f"height={LENS}"])
                    html.Span("{{ labels." + view + " }}", classes="label")


def _readout() -> None:
    html.Div(classes="readout px-2 text-caption", raw_attrs=["id=readout"])
