"""What ``superres bench`` has measured, as a table for a terminal, as pictures, and as docs/PERFORMANCE.md."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

from .errors import DataError

#: Ways of which the best of several tiles counts.
_TILED = ("tiles", "monai")


def rows(result: dict) -> list[tuple[str, ...]]:
    """A speed measurement as a table; the first row names the columns."""
    table = [("way", "s a slice", "MVoxel/s", "GFLOP/s", "of ceiling", "peak MB", "difference", "around")]
    for entry in _without_worse_tiles(result["ways"]):
        if "problem" in entry:
            table.append((entry["label"], entry["problem"], "", "", "", "", "", ""))
            continue
        if entry["way"] == "ceiling":
            table.append((entry["label"], "", "", f"{entry['gflops']:.0f}", "100 %", "", "", ""))
            continue
        voxels = result["size"][0] * result["size"][1] * result["scale"] ** 2 / entry["seconds_a_slice"] / 1e6
        share, different = entry.get("share_of_ceiling"), entry.get("largest_difference")
        around = entry.get("around_the_network")
        table.append(
            (
                entry["label"],
                _brief(entry["seconds_a_slice"]),
                f"{voxels:.2f}",
                f"{entry['gflops']:.0f}",
                f"{share:.0%}" if share is not None else "",
                f"{(entry['gpu_peak_bytes'] or entry['peak_bytes']) / 1e6:.0f}",
                f"{different:.1e}" if different is not None else "",
                f"{around:.0%}" if around is not None else "",
            )
        )
    return table


def _brief(seconds: float) -> str:
    return f"{seconds:.3f}" if seconds >= 0.1 else f"{seconds:.4f}"


def _without_worse_tiles(entries: list[dict]) -> list[dict]:
    """Of each tiled way only its quickest tile, which is what others would use."""
    best = {}
    for entry in entries:
        if entry["way"] in _TILED and "seconds" in entry:
            known = best.setdefault(entry["way"], entry)
            best[entry["way"]] = min(known, entry, key=lambda one: one["seconds_a_slice"])
    return [entry for entry in entries if entry["way"] not in best or entry is best[entry["way"]]]


def series_rows(result: dict) -> list[tuple[str, ...]]:
    """A series (scaling, memory, skipping) as a table."""
    if result["kind"] == "skipping":
        named = [("what is constant skipped", result["skipped"]), ("everything computed", result["everything"])]
    else:
        named = [(" x ".join(map(str, run["size"])) + _destination(run), run) for run in result["runs"]]
    cells = _MEMORY if result["kind"] == "memory" else _TIME
    table = [("volume", *cells)]
    for name, run in named:
        failed = "problem" in run
        table.append(
            (name, *([run["problem"], *[""] * (len(cells) - 1)] if failed else [f(run) for f in cells.values()]))
        )
    return table


def _beyond(run: dict) -> str:
    return f"{(run['peak_bytes'] - run['input_bytes'] - run['output_bytes']) / 1e6:.0f}"


#: Columns of a series: what stands in them of a run.
_MEMORY = {"peak MB": lambda run: f"{run['peak_bytes'] / 1e6:.0f}", "beyond input and output, MB": _beyond}
_TIME = {
    "s": lambda run: f"{run['seconds']:.2f}",
    "s a slice": lambda run: f"{run['seconds'] / run['size'][2]:.4f}" if "size" in run else "",
    "peak MB": _MEMORY["peak MB"],
    "skipped": lambda run: f"{run['skipped_share']:.0%}",
}


def _destination(run: dict) -> str:
    return "" if "to_file" not in run else ", to a file" if run["to_file"] else ", in memory"


def draw(result: dict, path: Path) -> None:
    """The picture of a measurement: bars of time for each way, or curves of time and memory."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    if result["kind"] == "speed":
        entries = [entry for entry in _without_worse_tiles(result["ways"]) if "seconds" in entry]
        figure, axes = plt.subplots(figsize=(8, 0.35 * len(entries) + 1), layout="constrained")
        colors = ["tab:blue" if entry["way"] == "upscale" else "tab:gray" for entry in entries]
        axes.barh([entry["label"] for entry in entries], [entry["seconds_a_slice"] for entry in entries], color=colors)
        axes.invert_yaxis()
        axes.set_xlabel(f"seconds for a slice of {result['size'][0]} x {result['size'][1]} pixels")
    else:
        runs = sorted((run for run in result["runs"] if "seconds" in run), key=lambda run: prod(run["size"]))
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
        for label, chosen in _curves(runs):
            voxels = [prod(run["size"]) for run in chosen]
            left.loglog(voxels, [run["seconds"] for run in chosen], "o-", label=label)
            right.loglog(voxels, [run["peak_bytes"] / 1e6 for run in chosen], "o-", label=label)
        left.set(xlabel="voxels of the input", ylabel="seconds")
        right.set(xlabel="voxels of the input", ylabel="peak memory, MB")
        left.legend()
    lossless = {"pil_kwargs": {"lossless": True, "method": 6}} if path.suffix == ".webp" else {}
    figure.savefig(path, dpi=100, **lossless)
    plt.close(figure)


def _curves(runs: list[dict]) -> list[tuple[str, list[dict]]]:
    few = min(run["size"][2] for run in runs)
    side = min(run["size"][0] for run in runs if run["size"][2] != few) if any(r["size"][2] != few for r in runs) else 0
    more_slices = [run for run in runs if run["size"][0] == side]
    larger = [run for run in runs if run["size"][2] == few]
    return [(name, chosen) for name, chosen in (("more slices", more_slices), ("larger slices", larger)) if chosen]


def write_document(folder: Path, target: Path) -> None:
    """Write docs/PERFORMANCE.md and its pictures from the measurements in a folder."""
    parts = [_INTRODUCTION]
    for path in sorted(folder.glob("*.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            parts.append(f"## {_title(result)}\n\n{_machine(result)}")
            table = rows(result) if result["kind"] == "speed" else series_rows(result)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is not what 'superres bench --output' writes; take it away or measure again."
            ) from error
        parts.append(_markdown(table))
        if result["kind"] in ("speed", "scaling"):
            picture = path.with_suffix(".webp")
            draw(result, picture)
            parts.append(f"![{_title(result)}]({picture.relative_to(target.parent).as_posix()})")
        parts += _conclusions(result) if result["kind"] == "speed" else []
    target.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


_INTRODUCTION = """# Performance

`make bench-report` writes this page from the measurements in `docs/bench`, which `make bench` and `make bench-cuda`
make. Every figure is a median of runs in which all ways took turns on the same machine; of the series over sizes and of
skipping each run stands alone, and memory is measured once. *upscale* is the whole run from voxels to voxels:
intensity, network, consistency with the input, rounding. The other ways are the network alone, slice by slice, over the
first slices.

- GFLOP/s count the operations of the network as it was trained. The tails of EDSR-ISE are computed with fewer, so their
  share of the ceiling can exceed 100 %; the last line of a section says what was really executed.
- The ceiling is the quickest 3 x 3 convolution of 64 channels that PyTorch does on this machine, or on a graphics card
  a product of large matrices where that is quicker.
- On a graphics card float32 is float32; tf32 is what PyTorch makes of it by itself, rounded to 10 bits in convolutions.
- *difference* is the largest one from the whole slice in plain float32, as a share of the intensity range.
- *peak MB* is the memory of the process, on a graphics card what PyTorch allocated there.
- *around* is the share of the run that is not the network.
- Of tiles and windows (128, 192 or 256 pixels) the quickest is shown.
- A ratio is that of the medians; in brackets stand the least and the most of the single rounds."""


def _title(result: dict) -> str:
    model = f"`{result['model']}`"
    if result["kind"] == "speed":
        size = " x ".join(map(str, result["size"]))
        return f"{model}, {size} voxels of {result['type']}, {result['device']}"
    names = {
        "scaling": "against volume size",
        "memory": "memory of large volumes",
        "skipping": f"skipping on {result.get('image')}",
    }
    return f"{model}, {names[result['kind']]}, {result['device']}"


def _machine(result: dict) -> str:
    about = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number)
    place = f"{about['processor']}, {about['cores']} cores"
    if about["graphics_card"]:
        place = f"{about['graphics_card']} beside {place}"
    backend = f"; executed by {result['backend']}, float32" if "backend" in result else ""
    runs = f"; {result['repeats']} runs of each way" if "repeats" in result else ""
    weights = f"\n\nWeights: {result['weights']}." if "weights" in result else ""
    return f"{place}; {versions}{backend}{runs}.{weights}"


def _markdown(table: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|---" + "|---:" * (len(table[0]) - 1) + "|", *lines[1:]])


def _conclusions(result: dict) -> list[str]:
    """Ratios that the table holds, said in a list."""
    ways = {entry["label"]: entry for entry in _without_worse_tiles(result["ways"]) if "seconds" in entry}
    seconds = {label: entry["seconds_a_slice"] for label, entry in ways.items()}
    lines = []
    for precision in ("float32", "bfloat16", "float16"):
        ours = {label: value for label, value in seconds.items() if label.startswith("upscale") and precision in label}
        others = {label: value for label, value in seconds.items() if not label.startswith("upscale")}
        same = {label: value for label, value in others.items() if label.endswith(precision)}
        if not ours:
            continue
        best = min(ours, key=ours.get)
        lines.append(f"- {best} takes {ways[best]['seconds']:.2f} s for all {ways[best]['slices']} slices.")
        for label in ("eager, float32", "eager, tf32", *sorted(same)):
            if label in others:
                lines.append(f"- {best} is {_ratio(ways[best], ways[label])} as quick as {label}.")
    lines += _really_computed(result)
    return ["\n".join(dict.fromkeys(lines))] if lines else []


def _ratio(ours: dict, other: dict) -> str:
    """How many times as quick a way is by the medians, and the least and the most of the rounds, in turn."""
    ours_each, other_each = ([each / way["slices"] for each in way["rounds"]] for way in (ours, other))
    each = [theirs / mine for mine, theirs in zip(ours_each, other_each)]
    ratio = other["seconds_a_slice"] / ours["seconds_a_slice"]
    return f"{ratio:.2f} times ({min(each):.2f} to {max(each):.2f})"


def _really_computed(result: dict) -> list[str]:
    """How near to the ceiling the operations come that were really executed, and what the rest is spent on."""
    ways = {entry["label"]: entry for entry in result["ways"]}
    ours, ceiling = ways.get("upscale, torch, float32", {}), ways.get("ceiling, float32", {})
    if "seconds_a_slice" not in ours or "gflops" not in ceiling or "computed_gflop_a_slice" not in result:
        return []
    computed, trained = result["computed_gflop_a_slice"], result["gflop_a_slice"]
    share = computed / ours["seconds_a_slice"] / ceiling["gflops"]
    part = f"{computed:.0f} of the {trained:.0f}" if computed < trained else f"all {trained:.0f}"
    line = f"- upscale, torch, float32 executes {part} GFLOP of a slice, at {share:.0%} of the ceiling."
    if result["device"] != "cpu":  # where the rest goes has been looked at on a CPU only
        return [line]
    return [
        f"{line} The rest goes into what is not a convolution of 64 channels: passes over memory for sums, gates "
        "and activations, the first and the last layers, bicubic enlargement and consistency."
    ]
