"""Retrieval tasks: passkey (Mohtashami and Jaggi 2023), lines of a record (LongChat's LongEval), and copying.

A task is a list of (text, weight): the weight of its tokens in the loss. What cannot be foreseen weighs nothing, and the
answers most.
"""
import random
import re
from collections import Counter

DESCRIPTION = ("There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
               "I will quiz you about the important information there.")
GARBAGE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
QUESTION = "What is the pass key? The pass key is"
RECORD = ("Below is a record of lines I want you to remember. Each line begins with 'line <line index>' and contains a "
          "'<REGISTER_CONTENT>' at the end of the line as a numerical value. For each line index, memorize its "
          "corresponding <REGISTER_CONTENT>. At the end of the record, I will ask you to retrieve the corresponding "
          "<REGISTER_CONTENT> of a certain line index. Now the record start:\n\n")
PROMPT, HINT, ANSWER = 0.1, 1.0, 10.0  # weights: the frame, a repetition near by, what is asked for
BRIEF_BYTES = 600  # below this size prompts do without their long descriptions


def passkey(rng, size, filler, depth=None, key=None):
    """filler(n): n bytes or so of irrelevant text. depth: where the key lies, 0 to 1. size: bytes of the whole prompt.

    Short ones go without the description.
    """
    key = rng.randint(10000, 99999) if key is None else key
    depth = rng.random() if depth is None else depth
    description = f"{DESCRIPTION}\n" if size >= BRIEF_BYTES else ""
    n = size - len(description) - len(QUESTION) - 60
    before, after = filler(max(0, round(n * depth))), filler(max(0, round(n * (1 - depth))))
    return [(f"{description}{before}\nThe pass key is", PROMPT), (f" {key}", 0), (". Remember it.", PROMPT),
            (f" {key}", HINT), (f" is the pass key.\n{after}\n{QUESTION}", PROMPT), (f" {key}.", ANSWER)]


def garbage(n):
    """As the paper has it: cut at any letter."""
    return (f"{GARBAGE} " * (n // len(GARBAGE) + 1))[:n]


def garbage_sentences(n):
    """Whole repetitions."""
    return " ".join([GARBAGE] * round(n / (len(GARBAGE) + 1)))


def record(rng, size, names):
    """Lines, then questions about two thirds of them."""
    result = [(RECORD, PROMPT)] if size >= 2 * BRIEF_BYTES else []
    n = max(2, (size - sum(len(text) for text, _ in result)) // 130)
    lines = {f"{rng.choice(names)}-{rng.choice(names)}": rng.randint(1, 50000) for _ in range(n)}
    for name, value in lines.items():
        result += [(f"line {name}: REGISTER_CONTENT is <", PROMPT), (f"{value}", 0), (">\n", PROMPT)]
    result += [("Now the record is over.", PROMPT)]
    for name in rng.sample(list(lines), max(1, n * 2 // 3)):
        result += [(f" Tell me what is the <REGISTER_CONTENT> in line {name}? I need the number."
                    f"\nThe <REGISTER_CONTENT> in line {name} is <", PROMPT), (f"{lines[name]}>.", ANSWER / 2)]
    return result


def copying(rng, size, names):
    """A list of words or digits, and the same again."""
    if rng.random() < 0.5:
        items = [rng.choice(names) for _ in range(size // 14)]
    else:
        items = [str(rng.randint(0, 99999)) for _ in range(size // 13)]
    text = " " + " ".join(items)
    return [("Copy:", PROMPT), (text, 0), (".\nCopy:", PROMPT), (text, HINT), (".", HINT)]


def task(rng, size, names, passage):
    """One of the tasks, of about `size` bytes; passage(n): n bytes of a book."""
    kind = rng.random()
    if kind < 0.5:
        filler = rng.choices((garbage, garbage_sentences, passage), (0.35, 0.35, 0.3))[0]
        return passkey(rng, size, filler)
    return record(rng, size, names) if kind < 0.8 else copying(rng, size, names)


def common_words(documents, n=1500):
    """The most frequent words of 4 to 8 small letters: names of lines."""
    counts = Counter(w for text in documents for w in re.findall(r"\b[a-z]{4,8}\b", text))
    return [w for w, _ in counts.most_common(n)]


def examples(documents, n, size=1200, seed=1):
    """Texts of n tasks, for the tokenizer."""
    names = common_words(documents)
    rng = random.Random(seed)
    return ["".join(text for text, _ in task(rng, size, names, lambda n: "")) for _ in range(n)]
