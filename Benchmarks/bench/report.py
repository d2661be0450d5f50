"""Tables for people, JSON for programs, a plot."""

import json
import os
import platform
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def grid(headings, rows):
    """Text columns: the first ones to the left, figures to the right."""
    cells = [headings, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    lines = []
    for row in cells:
        line = [
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(line).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def share(loss):
    return "0" if loss == 0 else f"{loss:.4%}"


def table_text(result):
    parts = []
    for policy in dict.fromkeys(row["policy"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["policy"] == policy]
        references = {(row["io"], row["size"]): row for row in rows if row["program"] == "c"}
        lines = []
        for row in rows:
            if row["program"] != "sluice":
                continue
            c = references[row["io"], row["size"]]
            lines.append([
                row["io"], row["size"],
                f"{row['rate']:.0f}", f"{c['rate']:.0f}",
                f"{row['rate_ratio']:.2f} ({row['best_rate_ratio']:.2f})",
                f"{row['process_ns']:.0f}", f"{c['process_ns']:.0f}",
                f"{row['core_ns']:.0f} ({row['best_core_ns']:.0f})",
                f"{c['core_ns']:.0f} ({c['best_core_ns']:.0f})",
                f"{row['core_ratio']:.2f}", share(row["worst_loss"]),
            ])  # fmt: skip
        for row in rows:
            if row["program"] == "sluice" or (row["io"], row["size"]) in {
                (r["io"], r["size"]) for r in rows if r["program"] == "sluice"
            }:
                continue
            lines.append([
                row["io"], row["size"], "", f"{row['rate']:.0f}", "", "", f"{row['process_ns']:.0f}",
                "", f"{row['core_ns']:.0f} ({row['best_core_ns']:.0f})", "",
                share(row["worst_loss"]),
            ])  # fmt: skip
        what = {"pass": "Pass-through", "blog": "With the blog policy"}[policy]
        headings = ["backend", "size", "packets/s", "C", "ratio (best)", "CPU ns", "C",
                    "core ns (best)", "C", "ratio", "loss"]  # fmt: skip
        parts.append(f"{what}\n{grid(headings, lines)}")
    parts.append(
        "packets/s: service rate of one worker. CPU ns: of the process, a packet. core ns: receive\n"
        "softirq + process. Ratios: medians of sluice / C, drain by drain in turn. raw1: one packet\n"
        "per system call. udp computes outer checksums in both with the blog policy, else C sends 0."
    )
    lines = [
        f"core cost of sluice packet, size {one['size']}: {one['core_ratio']:.2f} × {one['against']}"
        for one in result["costs"]
    ]
    if lines:
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def workers_text(result):
    lines = [
        [row["program"], row["io"], str(row["workers"]), f"{row['core_ns']:.0f}",
         f"{row['added_ns']:+.0f}", f"{row['softirq_ns']:.0f}", f"{row['process_ns']:.0f}",
         share(row["worst_loss"])]
        for row in result["rows"]
    ]  # fmt: skip
    text = grid(["program", "backend", "workers", "core ns", "added", "softirq ns", "CPU ns", "loss"],
                lines)  # fmt: skip
    for one in result["slopes"]:
        if one["ns_per_worker"] is not None:
            text += (
                f"\n{one['program']} {one['io']}: {one['ns_per_worker']:.0f} ns a packet "
                "for each worker more, up to 16"
            )
    return text


def latency_text(result):
    lines = [
        [row["io"], row["mode"], f"{row['rate']:.0f}",
         f"{row['sluice_p50_ns'] / 1000:.1f}", f"{row['c_p50_ns'] / 1000:.1f}",
         f"{row['ratio']:.2f}", f"{row['sluice_p99_ns'] / 1000:.0f}",
         f"{row['c_p99_ns'] / 1000:.0f}", share(row["sluice_loss"]), share(row["c_loss"])]
        for row in result["rows"]
    ]  # fmt: skip
    headings = ["backend", "mode", "packets/s", "p50 µs", "C", "ratio", "p99 µs", "C", "loss", "C"]
    return grid(headings, lines)


def scale_text(result):
    lines = [
        [row["program"], row["io"], f"{row['rate_1']:.0f}", f"{row['rate_2']:.0f}",
         f"{row['service_1']:.2f}", f"{row['service_2']:.2f}", f"{row['delivery']:.2f}",
         share(max(row["loss_1"], row["loss_2"]))]
        for row in result["rows"]
    ]  # fmt: skip
    headings = ["program", "backend", "1 worker packets/s", "2 workers", "ratio, 1 sender",
                "2 senders", "delivery of 2 senders", "loss"]  # fmt: skip
    return grid(headings, lines)


def generator_text(result):
    lines = [
        ["sluice-gen", row["size"], f"{row['own_pps']:.0f}", f"{row['bare_pps']:.0f}",
         f"{row['ratio']:.2f}", f"{row['best_ratio']:.2f}"]
        for row in result["rows"]
    ]  # fmt: skip
    return grid(["program", "size", "packets/s", "bare sender", "ratio", "best"], lines)


TEXTS = {
    "table": table_text,
    "workers": workers_text,
    "latency": latency_text,
    "scale": scale_text,
    "generator": generator_text,
}


def machine():
    """What the figures depend on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    return {"cpu": model, "cpus": os.cpu_count(), "kernel": platform.release(), "commit": commit,
            "date": time.strftime("%Y-%m-%d", time.gmtime())}  # fmt: skip


def write(part, result, settings, folder):
    """The text, the JSON and, for the table, the plot; gives the text."""
    folder.mkdir(parents=True, exist_ok=True)
    text = TEXTS[part](result)
    document = {"part": part, "machine": machine(), "settings": settings, **rounded(result)}
    (folder / f"{part}.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / f"{part}.txt").write_text(text + "\n")
    if part == "table":
        plot(result["rows"], folder / "table.png")
    return text


def rounded(value):
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def plot(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    policies = list(dict.fromkeys(row["policy"] for row in rows))
    figure, axes = pyplot.subplots(
        len(policies), 2, figsize=(11, 3.6 * len(policies)), squeeze=False, layout="constrained"
    )
    for line, policy in zip(axes, policies):
        own = [row for row in rows if row["policy"] == policy and row["program"] == "sluice"]
        labels = [f"{row['io']}\n{row['size']}" for row in own]
        for offset, program, colour in ((-0.2, "sluice", "tab:orange"), (0.2, "c", "tab:grey")):
            cells = [
                next(r for r in rows if (r["program"], r["policy"], r["io"], r["size"])
                     == (program, policy, row["io"], row["size"]))
                for row in own
            ]  # fmt: skip
            places = [i + offset for i in range(len(own))]
            name = "Sluice" if program == "sluice" else "C reference"
            line[0].bar(places, [r["rate"] / 1000 for r in cells], 0.4, label=name, color=colour)
            soft = [r["softirq_ns"] for r in cells]
            line[1].bar(places, soft, 0.4, color=colour, alpha=0.45)
            line[1].bar(places, [r["process_ns"] for r in cells], 0.4, bottom=soft, color=colour)
        what = "pass-through" if policy == "pass" else "blog policy"
        line[0].set_title(f"Service rate of one worker, {what}")
        line[0].set_ylabel("thousand packets/s")
        line[0].legend()
        line[1].set_title("CPU per packet: receive softirq (pale) + process")
        line[1].set_ylabel("ns")
        for axis in line:
            axis.set_xticks(range(len(own)), labels, fontsize=7)
            axis.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
