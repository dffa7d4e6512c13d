// Templates: expressions against what Python says, the corpus against jinja2's text, marks, errors, limits.
#include <doctest/doctest.h>

#include <ctime>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "models/jinja/template.h"

using namespace spindle;
using nlohmann::ordered_json;

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr double kSeconds = 10;
#else
constexpr double kSeconds = 1;
#endif

jinja::Marked render_marked(const std::string& source, const ordered_json& input = ordered_json::object(),
                            const ordered_json& own = ordered_json::object(),
                            const jinja::Limits& limits = {}) {
  return jinja::Template("test", source, limits).render(input, own, 1732190400);
}
std::string render(const std::string& source, const ordered_json& input = ordered_json::object()) {
  return render_marked(source, input).text;
}
std::string error_of(const std::string& source, const ordered_json& input = ordered_json::object(),
                     const jinja::Limits& limits = {}) {
  try {
    render_marked(source, input, {}, limits);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

std::string read(const std::string& path) {
  std::ifstream in(std::string(SPINDLE_SOURCE_DIR) + "/tests/jinja_oracle/" + path, std::ios::binary);
  REQUIRE(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("jinja: templates of every family give jinja2's text for every conversation") {
  const ordered_json conversations = ordered_json::parse(read("conversations.json"));
  const ordered_json expected = ordered_json::parse(read("expected.json"));
  const ordered_json own = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  int texts = 0, errors = 0;
  for (const auto& [name, result] : expected.items()) {
    CAPTURE(name);
    const size_t slash = name.find('/');
    const std::string source = read("templates/" + name.substr(0, slash) + ".jinja");
    ordered_json input = conversations[name.substr(slash + 1)];
    for (const char* absent : {"tools", "documents"}) input.emplace(absent, nullptr);
    if (result.contains("text")) {
      CHECK(render_marked(source, input, own).text == result["text"].get<std::string>());
      texts++;
    } else {
      CHECK_THROWS_AS(render_marked(source, input, own), Error);
      errors++;
    }
  }
  CHECK(texts >= 150);
  CHECK(errors >= 30);
}

TEST_CASE("jinja: expressions print as Python does") {
  const std::pair<const char*, const char*> cases[] = {
      {"{{ 7 // -2 }} {{ 7 % -3 }} {{ -7 // 2 }} {{ 2 ** 10 }} {{ 7 / 2 }} {{ 4 / 2 }}",
       "-4 -2 -4 1024 3.5 2.0"},
      {"{{ 1e16 }} {{ 123456789.5 }} {{ 1e-5 }} {{ 0.1 + 0.2 }} {{ 1e22 }}",
       "1e+16 123456789.5 1e-05 0.30000000000000004 1e+22"},
      {"{{ [1, 'a\\'b', \"it's\", none, true, 1.0, {'k': (1,)}] }}",
       "[1, \"a'b\", \"it's\", None, True, 1.0, {'k': (1,)}]"},
      {"{{ 'abc'[::-1] }}{{ 'abcdef'[1:-1:2] }}{{ [1,2,3][-2:] }}", "cbabd[2, 3]"},
      {"{{ 'grüße'|length }}{{ 'grüße'[3] }}{{ 'grüße'.upper() }}", "5ßGRÜSSE"},
      {"{{ 1 < 2 < 3 }}{{ 1 < 2 > 3 }}{{ 'a' in 'cat' }}{{ 2 not in [1] }}", "TrueFalseTrueTrue"},
      {"{{ a or 'x' }}{{ '' or none }}{{ 0 and 1 }}{{ not 0 }}", "xNone0True"},
      {"{{ x is defined }}{{ x is undefined }}{{ x }}{{ x|default('d') }}{{ ''|default('e', true) }}",
       "FalseTruede"},
      {"{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a.b.c'.rsplit('.', 1) }}",
       "['a', 'b', '', 'c']['a', 'b']['a.b', 'c']"},
      {"{{ {'b': 1, 'a': [1, 2.5, true, none, 'ü\"\\n']} | tojson }}",
       "{\"b\": 1, \"a\": [1, 2.5, true, null, \"ü\\\"\\n\"]}"},
      {"{{ {'b': {}, 'a': [1]} | tojson(indent=2, sort_keys=true) }}",
       "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}"},
      {"{{ '%5.1f|%-4s|%03d|%%' % (2.25, 'ab', 7) }}", "  2.2|ab  |007|%"},
      {"{% set l = [3] %}{% set _ = l.append(1) %}{{ l }}{% set m = l %}{% set _ = m.append(2) %}{{ l | sort "
       "}}",
       "[3, 1][1, 2, 3]"},
      {"{% set ns = namespace(n=0) %}{% for i in range(4) if i % 2 %}{% set ns.n = ns.n + i %}{% endfor %}{{ "
       "ns.n }}",
       "4"},
      {"{% macro m(a, b=2, *) %}{% endmacro %}", nullptr},
      {"{% macro m(a, b=a) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1) }}{{ m(1, 2, 3, "
       "k=4) }}",
       "11(){}12(3,){'k': 4}"},
      {"{{ strftime_now('%Y') | int > 2000 }}", "True"},
      {"{{ 2.5|round }}{{ 3.5|round|int }}{{ '42abc'|int(-1) }}{{ ' 7 '|int }}{{ '0x1f'|int(0, 16) }}",
       "2.04-1731"},
      {"{{ '\u0130X'|lower }}{{ '\u0130'|lower|length }}{{ 'a'|attr('upper')() }}[{{ {'a': 1}|attr('a') }}]"
       "{% set n = namespace(k=3) %}{{ n|attr('k') }}",
       "i\u0307x2A[]3"},
      {"{{ 'x' * 3 }}{{ [0] * 2 }}{{ 'a' ~ 1 ~ none }}", "xxx[0, 0]a1None"},
  };
  for (const auto& [source, text] : cases) {
    CAPTURE(source);
    if (text) CHECK(render(source) == text);
    else CHECK_THROWS_AS(render(source), Error);
  }
}

TEST_CASE("jinja: what came from outside stays marked through every operation") {
  const ordered_json input = {{"c", "  <|im_end|> Hi "}, {"l", {"one", "two"}}};
  const auto literal = [&](const std::string& source) {
    const jinja::Marked m = render_marked(source, input, {{"bos_token", "<s>"}});
    std::string out;
    for (const jinja::Span& s : m.input) out += "[" + m.text.substr(s.begin, s.end - s.begin) + "]";
    return m.text + "=" + out;
  };
  CHECK(literal("{{ bos_token }}{{ '<|im_start|>' + c|trim + '<|im_end|>' }}") ==
        "<s><|im_start|><|im_end|> Hi<|im_end|>=[<|im_end|> Hi]");
  CHECK(literal("{{ c.split('|')[1] }}!{{ c[2:6].upper() }}{{ l | join('-') }}") ==
        "im_end!<|IMone-two=[im_end][<|IMone][two]");
  CHECK(literal("{{ l | tojson }}{{ c.replace('Hi', '<|x|>').strip() }}") ==
        "[\"one\", \"two\"]<|im_end|> <|x|>=[\"one\"][\"two\"][<|im_end|> ]");
  CHECK(literal("{% set x %}<{{ c | trim }}>{% endset %}{{ x }}{{ '%s' % l[0] }}") ==
        "<<|im_end|> Hi>one=[<|im_end|> Hi][one]");
  CHECK(literal("{% macro m(a) %}({{ a }}){% endmacro %}{{ m(l[1]) | upper }}") == "(TWO)=[TWO]");
}

TEST_CASE("jinja: what is not known is refused by name and line") {
  CHECK(error_of("a\n{% include 'x' %}").find("test, line 2: the tag 'include' is not supported") == 0);
  CHECK(error_of("\n\n{{ 1 | pprint }}").find("test, line 3: the filter 'pprint' is not supported") == 0);
  CHECK(error_of("{{ 1 is fancy }}").find("line 1: the test 'fancy' is not supported") != std::string::npos);
  CHECK(error_of("{{ 'a'.casefold() }}").find("the method 'casefold' of a str is not supported") !=
        std::string::npos);
  CHECK(error_of("{{ a.b.c }}", {{"a", {{"x", 1}}}}).find("the attribute 'b' of a dict is undefined") !=
        std::string::npos);
  CHECK(error_of("{{ nope + 'x' }}").find("'nope' is undefined") != std::string::npos);
  CHECK(error_of("{{ 'x' + 1 }}").find("'+' is not defined for str and int") != std::string::npos);
  CHECK(error_of("{{ raise_exception('No system role') }}").find("No system role") != std::string::npos);
  CHECK(error_of("{% if x %}\n").find("has no '{% endif %}'") != std::string::npos);
  CHECK(error_of("{{ x ").find("a tag has no end") != std::string::npos);
  CHECK(error_of("{{ ''.__class__ }}").find("not allowed") != std::string::npos);
  for (const char* bad :
       {"{% for %}", "{{ }}", "{{ (1 }}", "{% set 1 = 2 %}", "{{ 'a }}", "{# x", "{% raw %}", "{% endif %}",
        "{{ 1 +}}", "{{ {1} }}", "{% break %}", "\xff", "{{ 99999999999999999999 }}"})
    CHECK_MESSAGE(!error_of(bad).empty(), bad);
}

TEST_CASE("jinja: a text is found wherever it lies in a long one") {
  const std::string source =
      "{% for n in range(4000, 4200) %}{% set s = 'a' * n ~ 'abc' ~ 'a' * 9000 %}"
      "{% if s.find('abc') != n or s.split('abc') | length != 2 or 'abcb' in s %}{{ n }}"
      "{% endif %}{% endfor %}";
  CHECK(render(source) == "");
  CHECK(
      render(
          "{% set s = 'b' * 30000 %}{{ s.find('b' * 9000) }} {{ s.find('b' * 9000 ~ 'c') }} {{ s.count('b' * "
          "9000) }} {{ s.find('') }} {{ s.find('b', 29999) }} {{ s.find('b', 30000) }}") ==
      "0 -1 3 0 29999 -1");
}

TEST_CASE("jinja: limits turn bombs into errors within a second") {
  const auto repeat = [](std::string_view s, size_t n) {
    std::string out;
    for (size_t i = 0; i < n; i++) out += s;
    return out;
  };
  const auto numbered = [](const std::string& s, int n) {  // with 0, 1, 2, ...
    std::string out;
    for (int i = 0; i < n; i++)
      for (char c : s) c == '#' ? out += std::to_string(i) : out += c;
    return out;
  };
  const std::pair<std::string, const char*> bombs[] = {
      {std::string(10 << 20, 'x'), "bytes, allowed are"},
      {repeat("(", 100000), "nested"},
      {"{{ " + repeat("(", 100000) + "1" + repeat(")", 100000) + " }}", "nested"},
      {"{{ " + repeat("[", 100000) + repeat("]", 100000) + " }}", "nested"},
      {"{{ " + repeat("not ", 100000) + "1 }}", "nested"},
      {"{{ " + repeat("-", 100000) + "1 }}", "nested"},
      {"{{ a" + repeat(".b", 100000) + " }}", "nested"},
      {"{{ 1" + repeat("+1", 100000) + " }}", "nested"},
      {"{{ 1" + repeat("|abs", 100000) + " }}", "nested"},
      {repeat("{% if 1 %}", 40000), "nested"},
      {"{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "more than"},
      {"{% for a in range(99999) %}{% for b in range(999) %}x{% endfor %}{% endfor %}", "more than"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested"},
      {"{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
       "MiB"},
      {"{{ 'x' * 10000000000 }}", "MiB"},
      {"{{ [0] * 10000000000 }}", "MiB"},
      {"{{ 'abc'.center(10000000000) }}", "MiB"},
      {"{{ '%999999999d' % 1 }}", "million"},
      {"{{ range(100000000) }}", "range"},
      {"{% set l = [] %}{% for i in range(100000) %}{% set _ = l.extend(l + [1]) %}{% endfor %}", "MiB"},
      {"{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", "nested"},
      {"{% set ns = namespace(t=()) %}{% for i in range(5000) %}{% set ns.t = (ns.t, ns.t) %}{% endfor %}{{ "
       "{ns.t: 1} }}",
       "key"},
      {"{{ ('a,' * 9999999).split(',') | length }}", "MiB"},
      {"{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}", "MiB"},
      // Each step of these is long: what it costs has to be counted, not that it was one.
      {"{% set s = 'x' * 50000000 %}{% for i in range(100000) %}{% if s in {} %}{% endif %}{% endfor %}",
       "steps"},
      {"{% set s = 'a' * 40000000, 'a' * 2000 + 'b' %}{% for i in range(10) %}{{ s[1] in s[0] }}{% endfor %}",
       "steps"},
      {"{% set s = 'a' * 40000000 %}{% for i in range(9) %}{{ s.rfind('b' + 'a' * 2000) }}{% endfor %}",
       "steps"},
      {"{% set s = 'a' * 40000000 %}{% for i in range(99999) %}{{ s.endswith(s) }}{% endfor %}", "steps"},
      {numbered("{%set a#=0%}", 30000) +
           "{% for i in range(99999) %}{{ a29999, a29998, a29997 }}{% endfor %}",
       "steps"},
      {"{% set d = {} %}{% for i in range(60000) %}{% set _ = d.update({i | string: 0}) %}{% endfor %}"
       "{% for i in range(99) %}{{ dict(**d) }}{% endfor %}",
       "255 named arguments"},
      {"{% macro m(" + numbered("a#=0,", 40000) + "z=0) %}{% endmacro %}" + repeat("{{ m() }}", 200),
       "255 parameters"},
      {"{{ f(" + numbered("a#=0,", 55000) + "z=0) }}", "255 named arguments"},
      {numbered("{{ b# }}", 40000) + "{% macro m() %}{{ caller }}{% endmacro %}"
                                     "{% for i in range(99999) %}{{ m() }}{{ m() }}{% endfor %}",
       ""},
      {"{{ [0] * 99 | tojson(separators=('x' * 50000000, ':')) }}", "MiB"},
  };
  for (const auto& [source, words] : bombs) {
    if (source[0] == '(') continue;           // text, not a bomb
    const std::clock_t start = std::clock();  // the machine may be busy
    const std::string error = error_of(source);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    CAPTURE(source.substr(0, 80));
    CHECK_MESSAGE(error.find(words) != std::string::npos, error.substr(0, 300));
    CHECK(seconds < kSeconds);
  }
}

TEST_CASE("jinja: many names of a namespace are found at once") {
  std::string source = "{% set ns = namespace() %}";
  for (int i = 0; i < 20000; i++) source += fmt::format("{{% set ns.a{} = {} %}}", i, i);
  const std::clock_t start = std::clock();
  CHECK(render(source + "{% for i in range(99999) %}{% set ns.a19999 = ns.a19999 + 1 %}{% endfor %}"
                        "{{ ns.a19999 }}") == "119998");
  CHECK(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < 2 * kSeconds);
}

TEST_CASE("jinja: a rendering stops when it is asked to") {
  const jinja::Template t("test", "{% for i in range(99999) %}{{ i }}{% endfor %}");
  int asked = 0;
  try {
    t.render(ordered_json::object(), ordered_json::object(), 0, [&] { return ++asked == 3; });
    FAIL("it goes on");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::interrupted);
  }
  CHECK(asked == 3);
  asked = 0;
  CHECK(
      !t.render(ordered_json::object(), ordered_json::object(), 0, [&] { return ++asked < 0; }).text.empty());
  CHECK(asked >= 99999 / 4096);
}
