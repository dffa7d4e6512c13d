"""Compares our Jinja with python3-jinja2 as transformers sets it up:  oracle.py RENDERER [--expected FILE] [-n CASES] [--seed S]

RENDERER is build/spindle_render_templates. First every template of templates/ with every conversation, then random
templates. A difference is printed and makes the exit code 1; what we refuse by name is counted.
--expected FILE: writes what jinja2 says about the corpus there instead.
"""
import argparse, datetime, glob, json, os, random, subprocess, sys
try:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
except ImportError:
    print("SKIPPED: python3-jinja2 is absent")
    sys.exit(0)
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
import random_templates

os.environ["TZ"] = "UTC"
NOW = 1732190400


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_say"), [], [], body).set_lineno(line)

    def _say(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None).strftime(form)


def theirs(job):
    try:
        return {"text": env.from_string(job["template"]).render(**job["input"], **job.get("own", {}))}
    except RecursionError:
        return {"error": "recursion"}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"}


def ours(renderer, jobs):
    text = "\n".join(json.dumps({**job, "now": NOW}) for job in jobs) + "\n"
    out = subprocess.run([renderer], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in out.decode().split("\n") if line]


def corpus():
    conversations = json.load(open(os.path.join(here, "conversations.json")))
    for path in sorted(glob.glob(os.path.join(here, "templates", "*.jinja"))):
        source = open(path, newline="").read()
        for name, input in conversations.items():
            yield os.path.basename(path)[:-6] + "/" + name, {
                "template": source, "input": {"tools": None, "documents": None, **input}, "own": {"bos_token": "<s>", "eos_token": "</s>"}}


REFUSALS = ("not supported", "not known here", "fit into 64 bits", "not one of 64 bits", "cannot be printed", "not allowed")


def compare(renderer, jobs, label):
    agree = both_fail = refused = differ = 0
    for (name, job), mine in zip(jobs, ours(renderer, [job for _, job in jobs])):
        reference = theirs(job)
        if "text" in mine and mine == reference:
            agree += 1
        elif "error" in mine and "error" in reference:
            both_fail += 1
        elif "error" in mine and any(r in mine["error"] for r in REFUSALS):
            refused += 1
            if os.environ.get("SHOW_REFUSED"):
                print("refused:", mine["error"], "|", job["template"])
        else:
            differ += 1
            if differ <= 20:
                print(f"DIFFERENT {name}\n  template {job['template'][:400] if label != 'corpus' else name!r}\n  ours     {mine}\n  jinja2   {reference}")
    print(f"{label}: {agree} equal, {both_fail} errors in both, {refused} refused by us alone, {differ} different")
    return differ


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("renderer")
    parser.add_argument("--expected")
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    jobs = list(corpus())
    if args.expected:
        expected = {name: theirs(job) for name, job in jobs}
        expected = {k: v if "text" in v else {"error": True} for k, v in expected.items()}
        with open(args.expected, "w") as f:
            json.dump(expected, f, ensure_ascii=False, indent=0)
            f.write("\n")
        sys.exit(0)
    bad = compare(args.renderer, jobs, "corpus")
    make = random_templates.Generator(random.Random(args.seed))
    jobs = [(f"random {i}", {"template": make.template(), "input": make.variables()}) for i in range(args.n)]
    bad += compare(args.renderer, jobs, "random")
    sys.exit(1 if bad else 0)
