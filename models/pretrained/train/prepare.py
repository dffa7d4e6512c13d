"""Makes the training text: fetches Debian packages, unpacks them unprivileged, and normalises the novels inside."""
import argparse
import re
import subprocess
from pathlib import Path

from rdata import read_package

SITE = "usr/lib/R/site-library"
AUSTEN = ["sensesensibility", "prideprejudice", "mansfieldpark", "emma", "northangerabbey", "persuasion"]
TWAIN = "usr/share/gocode/src/github.com/klauspost/compress/testdata/Mark.Twain-Tom.Sawyer.txt"
PACKAGES = ["r-cran-janeaustenr", "r-cran-tokenizers", "golang-github-klauspost-compress-dev"]

HEADING = re.compile(r"(CHAPTER|Chapter|VOLUME|LETTER|CONCLUSION|FINIS|Finis|THE END|Epilogue)\b")
# What follows these lines is not by the author: notes of editors, licences.
END = re.compile(r"A NOTE ON THE TEXT|End of (the )?Project Gutenberg|\*\*\* ?END OF|THE END$|FINIS$|Finis$")
ASCII = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--", "\ufeff": None,
                       "\u00a3": "L", "\u00e9": "e", "\u00e8": "e", "\u00ea": "e", "\u00e0": "a", "\u00e6": "ae"})


def fetch(cache):
    """Downloads the packages that are missing and unpacks them below cache, installing nothing."""
    for name in PACKAGES:
        if not (cache / name).exists():
            subprocess.run(["apt-get", "download", name], cwd=cache, check=True)
            subprocess.run(["dpkg", "-x", next(cache.glob(name + "_*.deb")), cache / name], check=True)


def books(cache):
    """Yields (name, lines)."""
    austen = read_package(cache / "r-cran-janeaustenr" / SITE / "janeaustenr/data")
    for name in AUSTEN:
        yield name, austen[name]
    melville = read_package(cache / "r-cran-tokenizers" / SITE / "tokenizers/data")
    yield "mobydick", melville["mobydick"][0].split("\n")
    yield "tomsawyer", (cache / PACKAGES[2] / TWAIN).read_text(encoding="utf-8").split("\n")


def paragraph(lines):
    """Rejoins wrapped lines; returns "" for what is not prose."""
    text = " ".join(" ".join(lines).translate(ASCII).split()).replace("_", "")
    text = re.sub(r"\[[^]]*\]", "", text).strip()
    is_prose = text.isascii() and re.search(r"[a-z]{2}", text) and re.search(r"[.!?,;:'\"-]$", text)
    if not is_prose or "*" in text or "Gutenberg" in text or (text[0].isalpha() and text.isupper()):
        return ""
    # Books open a chapter in capitals ("MOST of the adventures"): give the first word its usual case back.
    return re.sub(r"^([A-Z])([A-Z]+)\b(?= [a-z])", lambda m: m[1] + m[2].lower(), text)


def chapters(lines):
    """Yields each chapter as one string, a line per paragraph; what comes before the first heading is dropped."""
    chapter, block, started = [], [], False
    for line in lines + [""]:
        line = line.strip()
        if started and END.match(line):
            break
        if line and not HEADING.match(line):
            block.append(line)
            continue
        if block and started and (text := paragraph(block)):
            chapter.append(text)
        block = []
        if HEADING.match(line):
            started = True
            if len(chapter) > 2:
                yield "\n".join(chapter)
            chapter = []
    if len(chapter) > 2:
        yield "\n".join(chapter)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/spindle-train"), help="packages and all results")
    parser.add_argument("--held-out-every", type=int, default=50, help="every n-th chapter is kept for evaluation")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    args.cache = args.cache.resolve()
    fetch(args.cache)
    train, held_out = [], []
    for name, lines in books(args.cache):
        n_before, n_bytes = len(train) + len(held_out), 0
        for text in chapters(lines):
            n_bytes += len(text)
            n = len(train) + len(held_out)
            (held_out if n % args.held_out_every == args.held_out_every // 2 else train).append(text)
        print(f"{name}: {len(train) + len(held_out) - n_before} chapters, {n_bytes} bytes")
    # Chapters are separated by an empty line, which never occurs inside one.
    for name, part in ("train.txt", train), ("held_out.txt", held_out):
        (args.cache / name).write_text("\n\n".join(part), encoding="ascii")
        print(f"{name}: {len(part)} chapters, {sum(map(len, part))} bytes")


if __name__ == "__main__":
    main()
