"""Takes four excerpts of the held-out text, which ship: evaluations need no training text then."""
import argparse
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "held_out"
BOOKS = {"emma": 3, "mobydick": 6, "holmes": 8, "poe": 10}  # which of the documents; an author each
BYTES = 27_500  # at most, in whole paragraphs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/spindle-train"), help="the results of text.py")
    args = parser.parse_args()
    documents = (args.cache / "held_out.txt").read_text().split("\n\n")
    FOLDER.mkdir(exist_ok=True)
    for name, index in BOOKS.items():
        text = documents[index][:BYTES]
        (FOLDER / f"{name}.txt").write_text(text[:text.rindex("\n") + 1], encoding="ascii")


if __name__ == "__main__":
    main()
