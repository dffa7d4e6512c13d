"""Draws the tables beside this file as SVG, and writes them as README.md: run by `../evaluate plots`."""
import csv
import math
import sys
from collections import defaultdict
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent / "train"))
from plot import COLORS, line, text  # noqa: E402

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" font-family="sans-serif" font-size="12">\n' \
       '<rect width="{0}" height="{1}" fill="white"/>\n'
GROUPS = {"positions": "Trained alike on 512 tokens", "extensions": "That RoPE, no fine-tuning", "fine-tuned": "That RoPE, fine-tuned",
          "default": "The default, RoPE for longer"}


def read(name):
    path = FOLDER / f"{name}.csv"
    return list(csv.DictReader(path.open())) if path.exists() else []


def panel(curves, title, left, top, width, height, low, high, unit, logarithmic=True):
    """curves: {name: [(x, y)]}, x on a logarithmic axis of base 2. The legend is on the right."""
    scale = math.log if logarithmic else float
    xs = sorted({x for curve in curves.values() for x, _ in curve})

    def place(x, y):
        across = (math.log2(x) - math.log2(xs[0])) / max(1, math.log2(xs[-1]) - math.log2(xs[0]))
        return left + across * width, top + height - (scale(min(max(y, low), high)) - scale(low)) / (scale(high) - scale(low)) * height

    parts = [text(left, top - 10, f"{title}: {unit}", "start")]
    for x in xs:
        parts += [line([place(x, low), place(x, high)], "#ddd"), text(place(x, low)[0], top + height + 16, x)]
    steps = 5
    for i in range(steps + 1):
        y = low * (high / low) ** (i / steps) if logarithmic else low + (high - low) * i / steps
        parts += [line([place(xs[0], y), place(xs[-1], y)], "#ddd"), text(left - 6, place(xs[0], y)[1] + 4, f"{y:.3g}", "end")]
    for i, (name, curve) in enumerate(curves.items()):
        color = COLORS[i % len(COLORS)]
        parts += [line([place(x, y) for x, y in sorted(curve)], color, 1.8),
                  text(left + width + 10, top + 12 + 15 * i, name, "start", color)]
    return parts


def common_books():
    """Those that every method was measured on."""
    books = defaultdict(set)
    for r in read("perplexity"):
        books[r["table"], r["method"]].add(r["book"])
    return sorted(set.intersection(*books.values())) if books else []


def mean_perplexities():
    """{(group, method): {length: perplexity}}, over the books that all have."""
    sums, books = defaultdict(lambda: [0.0, 0]), common_books()
    for r in read("perplexity"):
        if r["book"] not in books:
            continue
        entry = sums[r["table"], r["method"], int(r["length"])]
        entry[0] += float(r["nats_per_token"]) * int(r["scored_tokens"])
        entry[1] += int(r["scored_tokens"])
    result = defaultdict(dict)
    for (group, method, n), (nats, count) in sums.items():
        result[group, method][n] = math.exp(nats / count)
    return result


def shares():
    """{(group, method): {length: {depth: (right, trials)}}}"""
    result = defaultdict(lambda: defaultdict(dict))
    for r in read("passkey"):
        result[r["table"], r["method"]][int(r["length"])][float(r["depth"])] = int(r["right"]), int(r["trials"])
    return result


def accuracy(depths):
    return sum(r for r, _ in depths.values()) / sum(n for _, n in depths.values())


def draw_perplexity(found):
    groups = [g for g in GROUPS if any(key[0] == g for key in found)]
    parts = []
    for i, group in enumerate(groups):
        curves = {m: list(c.items()) for (g, m), c in found.items() if g == group}
        parts += panel(curves, GROUPS[group], 50 + 440 * (i % 2), 40 + 320 * (i // 2), 230, 250, 15, 1000, "perplexity by length")
    (FOLDER / "perplexity.svg").write_text(HEAD.format(880, 320 * math.ceil(len(groups) / 2) + 10) + "\n".join(parts) + "\n</svg>\n")


def color_of(share):
    low, middle, high = (214, 69, 65), (245, 215, 110), (46, 160, 90)
    a, b, t = (low, middle, share * 2) if share < 0.5 else (middle, high, share * 2 - 1)
    return "#" + "".join(f"{round(x + (y - x) * t):02x}" for x, y in zip(a, b))


def draw_passkey(found):
    """A row for each method, a cell for each length, in it a strip for each depth from the start (left) to the end."""
    left, cell, height = 170, 90, 20
    lengths = sorted({n for cells in found.values() for n in cells})
    parts, y = [text(left, 18, "passkey accuracy by length; in each cell by depth, the start of the text on the left", "start")], 30
    for group, title in GROUPS.items():
        methods = [(m, cells) for (g, m), cells in found.items() if g == group]
        if not methods:
            continue
        parts.append(text(8, y + 14, title, "start", "#000"))
        parts += [text(left + cell * (i + 0.5), y + 14, n) for i, n in enumerate(lengths)]
        y += height
        for method, cells in methods:
            parts.append(text(left - 8, y + 14, method, "end"))
            for i, n in enumerate(lengths):
                depths = sorted(cells.get(n, {}).items())
                for d, (_, (right, trials)) in enumerate(depths):
                    width = (cell - 6) / len(depths)
                    parts.append(f'<rect x="{left + cell * i + 3 + width * d:.1f}" y="{y + 2}" width="{width:.1f}" '
                                 f'height="{height - 4}" fill="{color_of(right / trials)}"/>')
                if depths:
                    parts.append(text(left + cell * (i + 0.5), y + 14, f"{accuracy(cells[n]):.0%}", color="#000"))
            y += height
        y += 8
    size = left + cell * len(lengths) + 10, y + 6
    (FOLDER / "passkey.svg").write_text(HEAD.format(*size) + "\n".join(parts) + "\n</svg>\n")


def draw_speed():
    rates, memory = defaultdict(list), defaultdict(list)
    for r in read("speed"):
        rates[r["method"]].append((int(r["length"]), float(r["tokens_per_cpu_second"])))
        memory["in all"] += [(int(r["length"]), int(r["total_bytes"]) / 2**20)] if r["method"] == "RoPE" else []
        memory["cache"] += [(int(r["length"]), int(r["cache_bytes"]) / 2**20)] if r["method"] == "RoPE" else []
    if not rates:
        return
    most = max(y for curve in rates.values() for _, y in curve)
    parts = panel(rates, "Prefill", 60, 40, 230, 220, 0, most, "tokens a CPU second by length", False)
    parts += panel(memory, "Memory", 490, 40, 230, 220, 0, max(y for _, y in memory["in all"]), "MiB by context", False)
    (FOLDER / "speed.svg").write_text(HEAD.format(840, 290) + "\n".join(parts) + "\n</svg>\n")


def table(found, format_of):
    lengths = sorted({n for cells in found.values() for n in cells})
    rows = [f"| | {' | '.join(map(str, lengths))} |", "|---|" + "---|" * len(lengths)]
    for group, title in GROUPS.items():
        methods = [(m, cells) for (g, m), cells in found.items() if g == group]
        rows += [f"| *{title}* |" + " |" * len(lengths)] if methods else []
        rows += [f"| {m} | {' | '.join(format_of(cells[n]) if n in cells else '' for n in lengths)} |" for m, cells in methods]
    return rows


def main():
    perplexities, passkeys = mean_perplexities(), shares()
    draw_perplexity(perplexities)
    draw_passkey(passkeys)
    draw_speed()
    rows = ["# Evidence", "", "`models/pretrained/evaluate` measures all of this and writes this page; every row of the tables "
            "(`*.csv`) has its command, to be run in `models/pretrained`.", "", "## Perplexity", "",
            f"By the tokens of the window; the same 384 tokens of {' and '.join(f'`held_out/{b}.txt`' for b in common_books())} are scored "
            "at every length: small differences between rows mean little. Extensions without fine-tuning have factor 8.", "",
            *table(perplexities, lambda p: f"{p:.1f}" if p < 1000 else f"{p:.0f}"), "", "![](perplexity.svg)", "",
            "## Passkey", "", "By the tokens of prompt and answer, greedy; five depths. Extensions without fine-tuning have the factor "
            "that each length needs.", "", *table(passkeys, lambda d: f"{accuracy(d):.0%} of {sum(n for _, n in d.values())}"), "",
            "![](passkey.svg)", ""]
    if speeds := read("speed"):
        rows += ["## Speed and memory", "", "`spindle-rope-f16.gguf` on lavapipe, one window read from its start, f16 cache. CPU time of "
                 "the process, all threads together, because the machine did other work.", "",
                 "| | tokens | tokens a CPU second | cache | in all |", "|---|---|---|---|---|",
                 *(f"| {r['method']} | {r['length']} | {r['tokens_per_cpu_second']} | {int(r['cache_bytes']) / 2**20:.1f} MiB | "
                   f"{int(r['total_bytes']) / 2**20:.1f} MiB |" for r in speeds), "", "![](speed.svg)", ""]
    (FOLDER / "README.md").write_text("\n".join(rows))


if __name__ == "__main__":
    main()
