"""Prints the share of a text's words that are in a dictionary (Debian's wamerican): dictionary_words.py [FILE]."""
import argparse
import re
import sys
from pathlib import Path


def share(text, dictionary):
    """(known, total) over [A-Za-z']+, lower-cased; a possessive counts as its noun."""
    words = [w.strip("'") for w in re.findall(r"[A-Za-z']+", text.lower())]
    words = [w for w in words if w]
    known = [w for w in words if w in dictionary or w.removesuffix("'s") in dictionary]
    return len(known), len(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", help="standard input if absent")
    parser.add_argument("--dictionary", type=Path, default=Path("/usr/share/dict/american-english"))
    parser.add_argument("--at-least", type=float, default=0.0, help="fail below this share")
    parser.add_argument("--unknown", action="store_true", help="list the words that are not in the dictionary")
    args = parser.parse_args()
    dictionary = {line.strip().lower() for line in args.dictionary.open(encoding="utf-8")}
    text = args.file.read_text() if args.file else sys.stdin.read()
    known, total = share(text, dictionary)
    print(f"{known / max(total, 1):.4f} ({known} of {total} words)")
    if args.unknown:
        print(*sorted({w for w in re.findall(r"[A-Za-z']+", text.lower()) if not share(w, dictionary)[0]}))
    return 0 if total and known / total >= args.at_least else 1


if __name__ == "__main__":
    sys.exit(main())
