"""Writes what PyTorch makes of every model that ships, in f32: log-probabilities of the tokens of an excerpt.

The runtime's test holds its own against them. Positions beyond the trained length are in, where positions are told apart
by other parts of the tables.
"""
import argparse
import json
from pathlib import Path

import torch

from export import load
from tokenizer import BOS

FOLDER = Path(__file__).resolve().parent.parent
TOKENS = 1300  # of held_out/holmes.txt, BOS included
POSITIONS = [*range(0, 24), *range(60, TOKENS - 1, 62)]  # whose next token is looked at


def main():
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    text, result = (FOLDER / "held_out/holmes.txt").read_text(), {}
    for path in sorted(FOLDER.glob("spindle-*.gguf")):
        net, tokenizer = load(path)
        ids = [BOS, *tokenizer.encode(text)][:TOKENS]
        with torch.no_grad():
            log_probabilities = torch.log_softmax(net.logits(torch.tensor([ids]))[0], -1)
        result[path.name] = [round(log_probabilities[i, ids[i + 1]].item(), 4) for i in POSITIONS]
    lines = [f'"{name}": {json.dumps(values)}' for name, values in result.items()]
    head = {"text": "held_out/holmes.txt", "tokens": TOKENS, "positions": POSITIONS}
    body = json.dumps(head)[:-1] + ',\n"log_probabilities": {\n' + ",\n".join(lines) + "\n}}\n"
    (FOLDER / "logs/expected.json").write_text(body)


if __name__ == "__main__":
    main()
