"""Makes the training text: fetches Debian packages, unpacks them unprivileged, and normalises the books inside."""
import argparse
import re
import subprocess
import unicodedata
from pathlib import Path

from rdata import read_package

LIBRARY = "usr/lib/R/site-library"
AUSTEN = ["sensesensibility", "prideprejudice", "mansfieldpark", "emma", "northangerabbey", "persuasion"]
LZ4 = "usr/share/gocode/src/github.com/pierrec/lz4/testdata"
STEM = "usr/share/doc/liblingua-stem-perl/examples"
PACKAGES = ["r-cran-janeaustenr", "r-cran-tokenizers", "golang-github-pierrec-lz4-dev", "liblingua-stem-perl"]
HELD_OUT_BYTES = 30_000  # of each book, at least, from its middle

# A chapter ends at these lines, and what precedes the first is dropped.
HEADING = re.compile(r"(CHAPTER|Chapter|VOLUME|LETTER|CONCLUSION|FINIS|Finis|THE END|Epilogue|ADVENTURE|[IVX]+\. THE ADV)\b"
                     r"|\*END\*THE SMALL PRINT|~~~+ End of Text")
# What follows these lines, up to the next heading that starts a text, is not by the author: notes of editors, licences.
END = re.compile(r"A NOTE ON THE TEXT|\W*End of (The |the )?(Project )?Gutenberg|\*\*\* ?END OF|THE END$|FINIS$|Finis$")
PUNCTUATION = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "--", "\ufeff": None,
                             "\u00a3": "L", "\u00e6": "ae", "\u0153": "oe"})


def fetch(cache):
    """Downloads the packages that are missing and unpacks them below cache, installing nothing."""
    for name in PACKAGES:
        if not (cache / name).exists():
            subprocess.run(["apt-get", "download", name], cwd=cache, check=True)
            subprocess.run(["dpkg", "-x", next(cache.glob(name + "_*.deb")), cache / name], check=True)


def books(cache):
    """Yields (name, lines)."""
    austen = read_package(cache / PACKAGES[0] / LIBRARY / "janeaustenr/data")
    for name in AUSTEN:
        yield name, austen[name]
    melville = read_package(cache / PACKAGES[1] / LIBRARY / "tokenizers/data")
    yield "mobydick", melville["mobydick"][0].split("\n")
    for name, path in (("tomsawyer", f"{PACKAGES[2]}/{LZ4}/Mark.Twain-Tom.Sawyer.txt"),
                       ("holmes", f"{PACKAGES[2]}/{LZ4}/pg1661.txt"),
                       ("huckfinn", f"{PACKAGES[3]}/{STEM}/huckfinn.txt"),
                       ("poe", f"{PACKAGES[3]}/{STEM}/collected_works_poe.txt")):
        data = (cache / path).read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        if name == "huckfinn":  # set with hyphens at the ends of lines
            text = re.sub(r"(?<=[a-z])-\r?\n(?=[a-z])", "", text)
        yield name, text.splitlines()


def paragraph(lines):
    """Rejoins wrapped lines; returns "" for what is not prose."""
    if len(lines) > 2 and max(map(len, lines[:-1])) < 50:
        return ""  # verse, a list or a table
    text = re.sub(r"\[[^]]*\]|\{\*\w*\}", "", " ".join(" ".join(lines).split())).replace("_", "").strip()
    text = unicodedata.normalize("NFKD", text.translate(PUNCTUATION))
    text = "".join(c for c in text if not unicodedata.combining(c))
    is_prose = text.isascii() and re.search(r"[a-z]{2}", text) and re.search(r"[.!?,;:'\"-]$", text)
    if not is_prose or re.search(r"[*~=|{}<>@]|Gutenberg|GUTENBERG|[Ee]text", text):
        return ""
    # Books open a chapter in capitals ("MOST of the adventures"): give the first word its usual case back.
    return re.sub(r"^([A-Z])([A-Z]+)\b(?= [a-z])", lambda m: m[1] + m[2].lower(), text)


def chapters(lines):
    """Yields each chapter as one string, a line per paragraph."""
    chapter, block, started = [], [], False
    for line in [*lines, "", "CHAPTER"]:
        line = line.strip()
        ended, heading = bool(END.match(line)), bool(HEADING.match(line))
        if line and not ended and not heading:
            block.append(line)
            continue
        if block and started and (text := paragraph(block)):
            chapter.append(text)
        block = []
        if ended or heading:
            started = heading and not ended
            if sum(map(len, chapter)) > 1000:
                yield "\n".join(chapter)
            chapter = []


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/spindle-train"), help="packages and all results")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    args.cache = args.cache.resolve()
    fetch(args.cache)
    train, held_out = [], []
    for name, lines in books(args.cache):
        texts = list(chapters(lines))
        first = last = len(texts) // 2
        while sum(map(len, texts[first:last])) < HELD_OUT_BYTES:
            last += 1
        held_out.append("\n".join(texts[first:last]))
        train += texts[:first] + texts[last:]
        print(f"{name}: {len(texts)} chapters, {sum(map(len, texts))} bytes, {len(held_out[-1])} held out")
    # Documents are separated by an empty line, which never occurs inside one.
    for name, part in ("train.txt", train), ("held_out.txt", held_out):
        (args.cache / name).write_text("\n\n".join(part), encoding="ascii")
        print(f"{name}: {len(part)} documents, {sum(map(len, part))} bytes")


if __name__ == "__main__":
    main()
