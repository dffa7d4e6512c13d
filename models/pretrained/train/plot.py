"""Draws training logs as one SVG: the held-out loss against tokens, a line a log."""
import argparse
import csv
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 420, 60, 20, 150, 50
COLORS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22"]


def text(x, y, content, anchor="middle", color="#333"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{content}</text>'


def line(points, color, width=1.0):
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>'


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", type=Path, nargs="+", help="CSV files of train.py")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    curves = {}
    for log in args.logs:
        with log.open() as file:
            curves[log.stem] = [(int(row["tokens"]) / 1e6, float(row["held_out_loss"])) for row in csv.DictReader(file)]
    every = [point for curve in curves.values() for point in curve]
    x_max, low = max(x for x, _ in every), min(y for _, y in every)
    low, high = int(low * 5) / 5, min(4.2, max(y for _, y in every))

    def place(x, y):
        return (LEFT + x / x_max * (WIDTH - LEFT - RIGHT),
                TOP + (high - min(y, high)) / (high - low) * (HEIGHT - TOP - BOTTOM))

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for i in range(6):
        y = low + (high - low) * i / 5
        parts += [line([place(0, y), place(x_max, y)], "#ddd"), text(LEFT - 6, place(0, y)[1] + 4, f"{y:.2f}", "end")]
        x = x_max * i / 5
        parts += [line([place(x, low), place(x, high)], "#ddd"), text(place(x, low)[0], HEIGHT - BOTTOM + 18, f"{x:.1f}")]
    parts += [text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "million tokens"),
              text(LEFT, TOP - 6, "held-out loss, nats a token", "start")]
    for i, (name, curve) in enumerate(curves.items()):
        color = COLORS[i % len(COLORS)]
        parts += [line([place(*point) for point in curve], color, 1.8),
                  text(WIDTH - RIGHT + 12, TOP + 16 * (i + 1), f"{name} {curve[-1][1]:.3f}", "start", color)]
    args.output.write_text("\n".join(parts) + "\n</svg>\n")


if __name__ == "__main__":
    main()
