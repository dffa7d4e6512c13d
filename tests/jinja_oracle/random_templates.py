"""Random templates within the subset, mostly without errors, for a comparison with an oracle."""
STRINGS = ["", "a", "abc", "Hello World", " pad ", "x,y,,z", "line1\nline2\r\nline3", "\tÜber straße\u00a0", "你好 wörld", "a\\b'c\"d",
           "10", "-3", "2.5", "1e3", "true", "ABC", "one two  three", "<b>&</b>", "%s and %d", "{} {}", "aaaa", "user", "é", "🌍🌎", "a-b (c)[d]"]
INTS = [0, 1, 2, 3, -1, -7, 10, 255, 1000000]
REALS = [0.0, 0.5, -1.5, 2.0, 3.14159, 1e16, 1e-5, 1e22, 123456.789, -0.0]


def quote(s):
    return "'" + s.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r") + "'"


class Generator:
    def __init__(self, rng):
        self.r = rng

    def pick(self, *options):
        return self.r.choice(options)

    def chance(self, p):
        return self.r.random() < p

    # JSON variables.
    def value(self, depth=0):
        kind = self.r.randrange(8 if depth < 2 else 5)
        if kind == 0: return self.r.choice(INTS)
        if kind == 1: return self.r.choice(REALS)
        if kind == 2: return self.pick(True, False, None)
        if kind in (3, 4): return self.r.choice(STRINGS)
        if kind in (5, 6): return [self.value(depth + 1) for _ in range(self.r.randrange(4))]
        return {self.pick("a", "b", "c", "name", "items", "key with space"): self.value(depth + 1) for _ in range(self.r.randrange(4))}

    def variables(self):
        return {
            "s": self.r.choice(STRINGS), "t": self.r.choice(STRINGS), "i": self.r.choice(INTS), "j": self.r.choice(INTS),
            "f": self.r.choice(REALS), "b": self.chance(0.5), "n": None, "v": self.value(),
            "ints": [self.r.choice(INTS) for _ in range(self.r.randrange(5))],
            "strs": [self.r.choice(STRINGS) for _ in range(self.r.randrange(5))],
            "d": {k: self.value(1) for k in self.r.sample(["a", "b", "c", "B", "x"], self.r.randrange(1, 5))},
            "rows": [{"name": self.r.choice(STRINGS), "n": self.r.choice(INTS), "k": self.pick("x", "y", "X")} for _ in range(self.r.randrange(4))],
            "mixed": [self.value(1) for _ in range(self.r.randrange(4))],
        }

    # Expressions by type.
    def string(self, d=0):
        if d > 3 or self.chance(0.3):
            return self.pick("s", "t", quote(self.r.choice(STRINGS)), quote(self.r.choice(STRINGS)))
        e = self.string
        k = self.r.randrange(34)
        if k == 0: return f"({e(d+1)} + {e(d+1)})"
        if k == 1: return f"({self.any(d+1)} ~ {self.any(d+1)})"
        if k == 2: return f"{self.atom_string(d)}.{self.pick('strip','lstrip','rstrip','upper','lower','title','capitalize')}()"
        if k == 3: return f"{self.atom_string(d)}.{self.pick('strip','lstrip','rstrip')}({quote(self.pick('a','ab',' ','H','é'))})"
        if k == 4: return f"{e(d+1)} | {self.pick('trim','upper','lower','title','capitalize','string','reverse')}"
        if k == 5: return f"{self.atom_string(d)}[{self.slice(d)}]"
        if k == 6: return f"{self.atom_string(d)}.replace({quote(self.pick('a','l','',' ','lo'))}, {e(d+1)}{self.pick('', ', 1', ', 2')})"
        if k == 7: return f"({e(d+1)} | replace({e(d+1)}, {quote(self.pick('-',''))}{self.pick('', ', 1')}))"
        if k == 8: return f"({self.any(d+1)} | string)"
        if k == 9: return f"""({self.any(d+1)} | tojson{self.pick('', '(indent=2)', '(sort_keys=true)', '(ensure_ascii=true)', '(separators=(",",":"))', '(indent=4, sort_keys=true)')})"""
        if k == 10: return f"""({self.list(d+1)} | join{self.pick('', '(",")', '(s)', '(", ")')})"""
        if k == 11: return f"({e(d+1)} if {self.any(d+1)} else {e(d+1)})"
        if k == 12: return f"({e(d+1)} * {self.pick('0', '1', '2', '3', '-1')})"
        if k == 13: return f"({self.pick('%s', '%5s|', '%-5s|', '%r', '%.2s')!r} % ({self.any(d+1)},))"
        if k == 14: return f"({self.pick('%d', '%5d', '%05d', '%+d', '%x', '%o')!r} % {self.integer(d+1)})"
        if k == 15: return f"({self.pick('%.2f', '%8.3f', '%e', '%g', '%f', '%+.1f')!r} % {self.number(d+1)})"
        if k == 16: return f"({self.pick('%s-%s', '%s/%r')!r} | format({self.any(d+1)}, {self.any(d+1)}))"
        if k == 17: return f"{self.pick('{}:{}', '{1}{0}', '{{{}}}{}', '{:>6}|{:<4}', '{!r} {!s}')!r}.format({e(d+1)}, {e(d+1)})"
        if k == 18: return f"""({e(d+1)} | indent{self.pick('', '(2)', '(2, true)', '(width=1, blank=true)', '(">")')})"""
        if k == 19: return f"{self.atom_string(d)}.split({self.pick('', quote(','), quote('l'), 'none, 1', quote(' '))})[{self.pick('0', '-1')}]"
        if k == 20: return f"({e(d+1)} | default({e(d+1)}{self.pick('', ', true')}))"
        if k == 21: return f"({self.pick('nope', 'd.nope', 'nope2', 'n')} | default({e(d+1)}, {self.pick('true', 'false')}))"
        if k == 22: return f"{quote(self.pick(',', '', ' - '))}.join({self.strings(d+1)})"
        if k == 23: return f"({self.strings(d+1)} | {self.pick('first', 'last', 'min', 'max')} | string)"
        if k == 24: return f"""({e(d+1)} | truncate({self.pick('5', '8, true', '6, false, "~"', '4, true, "", 0')}))"""
        if k == 25: return f"({e(d+1)} | center({self.pick('3', '9', '20')}))"
        if k == 26: return f"""({e(d+1)} | list | {self.pick('join', 'join("-")', 'first | string', 'sort | join')})"""
        if k == 27: return f"({self.any(d+1)} | {self.pick('upper', 'lower', 'trim', 'title')})"
        if k == 28: return f"""{self.atom_string(d)}.{self.pick('ljust','rjust','center')}({self.pick('3','8')}{self.pick('', ', "*"')})"""
        if k == 29: return f"""{self.atom_string(d)}.{self.pick('zfill(6)', 'removeprefix("a")', 'removesuffix("c")')}"""
        if k == 30: return f"({self.atom_string(d)}.{self.pick('partition', 'rpartition')}({quote(self.pick(' ', ',', 'l'))}) | join('|'))"
        if k == 31: return f"({self.atom_string(d)}.splitlines({self.pick('', 'true')}) | string)"
        if k == 32: return f"({e(d+1)} ~ {self.number(d+1)} ~ {self.boolean(d+1)})"
        return f"""({self.list(d+1)} | map({self.pick('"string"', '"upper"', '"default", 1', '"length"')}) | join(' '))"""

    def atom_string(self, d):
        return self.pick("s", "t", quote(self.r.choice(STRINGS)), f"({self.string(d + 1)})")

    def integer(self, d=0):
        if d > 3 or self.chance(0.35): return self.pick("i", "j", str(self.r.choice(INTS)), "1", "2", "0x1F", "1_000")
        k = self.r.randrange(14)
        e = self.integer
        if k < 4: return f"({e(d+1)} {self.pick('+', '-', '*', '//', '%')} {e(d+1)})"
        if k == 4: return f"({self.pick(self.string, self.list)(d+1)} | {self.pick('length', 'count')})"
        if k == 5: return f"({self.any(d+1)} | int{self.pick('', '(7)', '(default=-1)')})"
        if k == 6: return f"-{e(d+1)}" if self.chance(0.5) else f"(-{e(d+1)} | abs)"
        if k == 7: return f"{self.atom_string(d)}.{self.pick('find', 'rfind', 'count')}({quote(self.pick('a', 'l', '', ' '))})"
        if k == 8: return f"({self.ints(d+1)} | sum)"
        if k == 9: return f"({self.ints(d+1)} | {self.pick('max', 'min', 'first', 'last')} | default(0))"
        if k == 10: return f"({self.pick('2', '3', e(d+1))} ** {self.pick('0', '1', '2', '3')})"
        if k == 11: return f"({e(d+1)} if {self.boolean(d+1)} else {e(d+1)})"
        if k == 12: return f"(s | int(0, {self.pick('16', '2', '8')}))"
        return f"({e(d+1)} | abs)"

    def number(self, d=0):
        if d > 3 or self.chance(0.3): return self.pick("f", "i", str(self.r.choice(REALS[:-1])), "2.5", "1.0e3")
        k = self.r.randrange(7)
        if k < 3: return f"({self.number(d+1)} {self.pick('+', '-', '*', '/', '//', '%')} {self.number(d+1)})"
        if k == 3: return f"""({self.number(d+1)} | round{self.pick('', '(1)', '(2)', '(0, "floor")', '(1, "ceil")')})"""
        if k == 4: return f"({self.any(d+1)} | float{self.pick('', '(1.5)')})"
        if k == 5: return f"({self.number(d+1)} ** {self.pick('2', '0.5', '-1', '0')})"
        return self.integer(d + 1)

    def boolean(self, d=0):
        if d > 3 or self.chance(0.2): return self.pick("true", "False", "b", "s", "v", "nope")
        k = self.r.randrange(13)
        if k == 0: return f"(not {self.boolean(d+1)})"
        if k == 1: return f"({self.any(d+1)} {self.pick('and', 'or')} {self.any(d+1)})"
        if k == 2: return f"({self.any(d+1)} {self.pick('==', '!=')} {self.any(d+1)})"
        if k == 3: return f"({self.number(d+1)} {self.pick('<', '<=', '>', '>=')} {self.number(d+1)})"
        if k == 4: return f"({self.string(d+1)} {self.pick('<', '<=', '>', '>=', 'in', 'not in')} {self.string(d+1)})"
        if k == 5: return f"({self.any(d+1)} {self.pick('in', 'not in')} {self.list(d+1)})"
        if k == 6:
            test = self.pick("defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "iterable",
                             "sequence", "true", "false", "callable")
            return f"({self.any(d+1)} is {self.pick('', 'not ')}{test})"
        if k == 7: return f"({self.integer(d+1)} is {self.pick('even', 'odd', 'divisibleby 3', 'divisibleby(2)', 'eq 2', 'ne(1)', 'gt 1', 'lessthan 4', 'in [1, 2]', 'ge 0')})"
        if k == 8: return f"{self.atom_string(d)}.{self.pick('startswith', 'endswith')}({quote(self.pick('a', 'H', '', 'c', 'line'))})"
        if k == 9: return f"({self.string(d+1)} is {self.pick('lower', 'upper')})"
        if k == 10: return f"({self.number(d+1)} {self.pick('<', '<=', '==')} {self.number(d+1)} {self.pick('<', '!=', '>=')} {self.number(d+1)})"
        if k == 11: return f"({quote(self.pick('a', 'b', 'zz'))} in {self.dict(d+1)})"
        return f"{self.atom_string(d)}.{self.pick('isspace', 'islower', 'isupper')}()"

    def ints(self, d=0):
        return self.pick("ints", "[1, 2, 3]", "range(4)", "range(5, 1, -2)", f"[{self.integer(d+1)}, {self.integer(d+1)}]", "(rows | map(attribute='n') | list)")

    def strings(self, d=0):
        return self.pick("strs", "['a', 'B', 'c']", f"[{self.string(d+1)}, {self.string(d+1)}]", f"{self.atom_string(d)}.split()",
                         "(rows | map(attribute='name') | list)", "(d | list)", f"{self.atom_string(d)}.splitlines()", f"({self.string(d+1)} | list)")

    def list(self, d=0):
        if d > 3 or self.chance(0.3): return self.pick("ints", "strs", "mixed", "rows", "[]", "[1, 'a', none]", "(1, 2)", "('x',)")
        k = self.r.randrange(18)
        e = self.list
        if k == 0: return f"[{self.any(d+1)}, {self.any(d+1)}]"
        if k == 1: return f"({self.any(d+1)}, {self.any(d+1)})"
        if k == 2: return f"({e(d+1)})[{self.slice(d)}]"
        if k == 3: return f"({self.ints(d+1)} | {self.pick('sort', 'sort(reverse=true)', 'reverse | list', 'unique | list', 'list')})"
        if k == 4: return f"({self.strings(d+1)} | {self.pick('sort', 'sort(true)', 'sort(case_sensitive=true)', 'reverse | list', 'unique | list')})"
        if k == 5: return f"({e(d+1)} | {self.pick('select', 'reject')}({self.pick('', quote('string'), quote('number'), quote('defined'), quote('none'))}) | list)"
        if k == 6: return f"""(rows | {self.pick('selectattr', 'rejectattr')}({self.pick(quote('n'), quote('n') + ', "gt", 1', quote('k') + ', "equalto", "x"', quote('k') + ', "in", ["y", "X"]', quote('zz'), quote('zz') + ', "defined"')}) | list)"""
        if k == 7: return f"(rows | sort(attribute={quote(self.pick('n', 'name', 'k', 'k,n'))}{self.pick('', ', reverse=true')}))"
        if k == 8: return f"({e(d+1)} | batch({self.pick('2', '3', '2, 0')}) | list)"
        if k == 9: return f"({e(d+1)} | slice({self.pick('2', '3', '2, 9')}) | list)"
        if k == 10: return f"({self.dict(d+1)} | {self.pick('dictsort', 'items | list', 'list', 'dictsort(reverse=true)')})"
        if k == 11: return f"({self.dict(d+1)}.{self.pick('items', 'keys', 'values')}() | list)"
        if k == 12: return f"(rows | map(attribute={quote(self.pick('n', 'name', 'zz', 'name.0'))}{self.pick('', ', default=5')}) | list)"
        if k == 13: return f"(rows | groupby({quote(self.pick('k', 'n'))}) | list)"
        if k == 14: return f"({self.ints(d+1)} | map({self.pick(quote('string'), quote('abs'), quote('int'), quote('float'))}) | list)"
        if k == 15: return f"({e(d+1)} + [{self.any(d+1)}])"
        if k == 16: return f"({self.pick('[0]', '(1, 2)', 'ints')} * {self.pick('0', '2', 'i if i < 5 else 1')})"
        return f"({self.string(d+1)} | list)"

    def dict(self, d=0):
        if d > 3 or self.chance(0.5): return self.pick("d", "{}", "{'a': 1}", "{'b': s, 'a': [i]}")
        return self.pick(f"{{{self.string(d+1)}: {self.any(d+1)}, 'k': {self.any(d+1)}}}", f"dict(a={self.any(d+1)}, b=2)", f"dict(d, zz={self.any(d+1)})",
                         f"{{1: {self.any(d+1)}, true: 2, 1.5: 'x', none: n}}")

    def slice(self, d):
        part = lambda: self.pick("", "", "0", "1", "2", "-1", "-2", "100", "-100", "i")
        return self.pick(f"{part()}:{part()}", f"{part()}:{part()}:{self.pick('1', '2', '-1', '-2', '')}", "::-1")

    def any(self, d=0):
        k = self.r.randrange(12)
        if d > 4: return self.pick("s", "i", "f", "b", "n", "v", "nope", "ints", "d", "w", "z")
        if k < 3: return self.string(d)
        if k == 3: return self.integer(d)
        if k == 4: return self.number(d)
        if k == 5: return self.boolean(d)
        if k == 6: return self.list(d)
        if k == 7: return self.dict(d)
        if k == 8: return self.pick("v", "n", "none", "v.a", "d.a", "d['b']", "d.get('a')", "d.get('zz', 3)", "v.items", "d.x", "nope", "d.zz")
        if k == 9: return f"({self.list(d+1)}){self.pick('[0]', '[-1]', '[5]', '.0')}"
        if k == 10: return f"""({self.dict(d+1)}){self.pick('.a', '["k"]', '.k', '[1]', '.get("a")')}"""
        return f"({self.any(d+1)} if {self.boolean(d+1)}{self.pick('', ' else ' + self.any(d+1))})"

    # Statements.
    def space(self):
        return self.pick("", "", " ", "\n", "\n  ", "text", "  \n\n", "\t", " x ", "\n\ty\n")

    def open(self):
        return self.pick("{%", "{%", "{%-", "{%+")

    def close(self):
        return self.pick("%}", "%}", "-%}", "+%}")

    def tag(self, text):
        return f"{self.open()} {text} {self.close()}"

    def statement(self, d=0, in_loop=False):
        k = self.r.randrange(15 if d < 3 else 5)
        body = lambda loop=in_loop: self.body(d + 1, loop)
        if k == 0 and self.chance(0.1): return "{{ " + self.string() + " | " + self.pick("e", "escape", "safe") + " }}"
        if k < 4: return f"{self.pick('{{', '{{-', '{{ ')} {self.any()} {self.pick('}}', '-}}')}"
        if k == 4: return self.pick(self.tag(f"set {self.pick('z', 'w')} = {self.any()}"), "{# note #}", "{#- note -#}", self.tag("set p, q = s, [i]") + "{{ p }}{{ q }}",
                                    self.tag(f"set ns.{self.pick('a', 'b')} = {self.any()}"))
        if k == 5: return self.tag(f"if {self.any()}") + body() + self.pick("", self.tag("else") + body(), self.tag(f"elif {self.boolean()}") + body() + self.tag("else") + body()) + self.tag("endif")
        if k in (6, 7): return self.tag(f"for x in {self.list()}{self.pick('', '', ' if x', ' if x is string', ' if x is not none')}") + \
            self.pick("{{ x }}", "{{ loop.index }}{{ loop.last }}", "{{ loop.previtem }}{{ loop.nextitem | default('end') }}", "{{ loop.revindex0 }}/{{ loop.length }}", "{{ loop.cycle(1, 2, 3) }}{{ loop.changed(x) }}") + \
            body(True) + self.pick("", self.tag("else") + body()) + self.tag("endfor")
        if k == 8: return self.tag(f"for k, x in {self.dict()}.items()") + "{{ k }}={{ x }};" + body(True) + self.tag("endfor")
        if k == 9: return self.tag(f"set w{self.pick('', '', ' | upper', ' | trim | title')}") + body(False) + self.tag("endset") + "[{{ w }}]"
        if k == 10: return self.tag(f"macro m(x, y={self.any()}, z='q')") + "{{ x }}{{ y }}{{ z }}" + body(False) + self.pick("", "{{ varargs | length }}{{ kwargs }}") + self.tag("endmacro") + \
            self.pick("{{ m(1) }}", f"{{{{ m({self.any()}, z={self.any()}) }}}}", "{{ m('a', 'b', 'c') | upper }}", "{{ m() }}", "{{ m(1, 2, 3, 4, k=5) }}", "{{ m(*ints) }}", "{{ m(**{'x': 1}) }}")
        if k == 11: return self.tag("macro w(t)") + "<{{ t }}|{{ caller(t) }}>" + self.tag("endmacro") + self.tag(f"call(u) w({self.any()})") + "{{ u }}" + body(False) + self.tag("endcall")
        if k == 12: return self.tag(f"""filter {self.pick('upper', 'trim', 'replace("x", "yy")', 'length', 'indent(2)')}""") + body(False) + self.tag("endfilter")
        if k == 13: return self.tag(f"with w = {self.any()}, z2 = {self.string()}") + "{{ w }}" + body(in_loop) + self.tag("endwith")
        if in_loop: return self.tag(f"if {self.boolean()}") + self.tag(self.pick("break", "continue")) + self.tag("endif")
        return self.pick("{% raw %}{{ raw }}{% endraw %}", "{%- raw -%} {% x %} {%- endraw -%}", "{% generation %}" + body(False) + "{% endgeneration %}", self.tag(f"set ns = namespace(a={self.any()})") + "{{ ns.a }}{{ ns.b }}")

    def body(self, d, in_loop):
        return "".join(self.space() + self.statement(d, in_loop) for _ in range(self.r.randrange(1, 3))) + self.space()

    def template(self):
        start = "{% set ns = namespace(a=1) %}"
        return start + "".join(self.space() + self.statement() for _ in range(self.r.randrange(1, 4))) + self.space()
