// Reads and plays scripts.
#include "viewer/window/script.h"

#include <charconv>
#include <fstream>
#include <sstream>

#include "runtime/error.h"

namespace spindle {
namespace {

const std::map<std::string, ImGuiKey>& keys() {
  static const std::map<std::string, ImGuiKey> map = {
      {"enter", ImGuiKey_Enter},    {"escape", ImGuiKey_Escape},    {"space", ImGuiKey_Space},
      {"left", ImGuiKey_LeftArrow}, {"right", ImGuiKey_RightArrow}, {"up", ImGuiKey_UpArrow},
      {"down", ImGuiKey_DownArrow}, {"tab", ImGuiKey_Tab},          {"backspace", ImGuiKey_Backspace}};
  return map;
}

int index_of(const std::vector<std::string>& names, const std::string& name) {
  for (size_t i = 0; i < names.size(); i++)
    if (names[i] == name) return static_cast<int>(i);
  std::string all;
  for (const std::string& n : names) all += (all.empty() ? "" : ", ") + n;
  fail(ErrorKind::usage, "'{}': allowed are {}", name, all);
}

double number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(error == std::errc() && end == text.data() + text.size(), ErrorKind::usage, "'{}' is no number",
          text);
  return value;
}

void set(State& s, const std::string& name, const std::string& value) {
  MapView& v = s.map;
  RotaryState& r = s.rotary;
  const auto rotary = [&](std::optional<double> RopeRequest::*field) {
    return [&r, field](const std::string& text) {
      r.methods[static_cast<size_t>(r.chosen)].request.*field = number(text);
      r.stale = true;
    };
  };
  const std::map<std::string, std::function<void(const std::string&)>> table = {
      {"theme",
       [&](const std::string& x) {
         s.ui.theme = index_of({"dark", "light"}, x) ? Theme::bright() : Theme::dark(),
         s.ui.fonts_stale = true;
       }},
      {"scale",
       [&](const std::string& x) { s.ui.scale = static_cast<float>(number(x)), s.ui.fonts_stale = true; }},
      {"colours",
       [&](const std::string& x) { s.ui.colours = static_cast<Colours>(index_of(colour_names(), x)); }},
      {"tokens", [&](const std::string& x) { s.n_tokens = static_cast<int>(number(x)); }},
      {"temperature",
       [&](const std::string& x) {
         s.sampling.temperature = static_cast<float>(number(x)), s.engine.set_sampling(s.sampling);
       }},
      {"layer", [&](const std::string& x) { v.layer = static_cast<int>(number(x)); }},
      {"head", [&](const std::string& x) { v.head = static_cast<int>(number(x)); }},
      {"pool",
       [&](const std::string& x) {
         v.pool = index_of({"max", "mean", "sum"}, x);
       }},
      {"map_scale", [&](const std::string& x) { v.scale = index_of(scale_names(), x); }},
      {"sinks", [&](const std::string& x) { v.hidden_keys = static_cast<int>(number(x)); }},
      {"source", [&](const std::string& x) { v.source = static_cast<int>(number(x)); }},
      {"other", [&](const std::string& x) { v.other = static_cast<int>(number(x)); }},
      {"method",
       [&](const std::string& x) {
         const auto method = find_rope_method(x);
         require(method.has_value(), ErrorKind::usage, "'{}': allowed are {}", x, rope_method_names());
         add_method(s, *method);
       }},
      {"factor", rotary(&RopeRequest::factor)},
      {"base", rotary(&RopeRequest::base)},
      {"beta_fast", rotary(&RopeRequest::beta_fast)},
      {"beta_slow", rotary(&RopeRequest::beta_slow)},
      {"position", [&](const std::string& x) { r.position = number(x); }},
      {"capture", [&](const std::string& x) { s.captures.path = x; }}};
  const auto it = table.find(name);
  if (it == table.end()) {
    std::vector<std::string> names;
    for (const auto& entry : table) names.push_back(entry.first);
    index_of(names, name);
  }
  it->second(value);
}

Box mark_of(const State& s, const std::string& name) {
  const auto it = s.ui.marks.find(name);
  require(it != s.ui.marks.end(), ErrorKind::usage, "there is no '{}' on screen", name);
  return it->second;
}

void play(ScriptHost& host, const std::string& command, std::istringstream& words) {
  State& s = host.state;
  const auto rest = [&] {
    std::string text;
    std::getline(words >> std::ws, text);
    return text;
  };
  const auto point = [&](const Box& box) {
    float x = 0.5f, y = 0.5f;
    words >> x >> y;
    return box.at(x, y);
  };
  const auto click = [&](ImVec2 at) {
    put_mouse(at.x, at.y);
    host.frame();
    put_button(0, true);
    host.frame();
    put_button(0, false);
    host.frame();
  };
  const auto press = [&](ImGuiKey key) {
    put_key(key, true);
    host.frame();
    put_key(key, false);
    host.frame();
  };
  std::string name;
  if (command == "click" || command == "hover") {
    words >> name;
    if (name == "nothing") {
      put_mouse(-1, -1);
      return;
    }
    const ImVec2 at = point(mark_of(s, name));
    if (command == "click") click(at);
    else put_mouse(at.x, at.y);
  } else if (command == "drag") {
    words >> name;
    const Box box = mark_of(s, name);
    const ImVec2 from = point(box), to = point(box);
    put_mouse(from.x, from.y);
    host.frame();
    put_button(0, true);
    for (int i = 0; i <= 4; i++) {
      const auto share = static_cast<float>(i) / 4;
      put_mouse(from.x + (to.x - from.x) * share, from.y + (to.y - from.y) * share);
      host.frame();
    }
    put_button(0, false);
    host.frame();
  } else if (command == "wheel") {
    put_wheel(static_cast<float>(number(rest())));
    host.frame();
  } else if (command == "panel") {
    s.welcome = false;
    click(mark_of(s, "panel." + rest()).at(0.4f, 0.5f));
    put_mouse(-1, -1);  // no tooltip stays
  } else if (command == "type") {
    ImGui::GetIO().AddInputCharactersUTF8(rest().c_str());
    host.frame();
  } else if (command == "key") {
    name = rest();
    if (const auto it = keys().find(name); it != keys().end()) press(it->second);
    else ImGui::GetIO().AddInputCharactersUTF8(name.c_str()), host.frame();
  } else if (command == "generate") {
    words >> s.n_tokens;
    click(mark_of(s, "prompt").at(0.3f, 0.5f));
    s.prompt.clear();
    host.frame();
    ImGui::GetIO().AddInputCharactersUTF8(rest().c_str());
    host.frame();
    press(ImGuiKey_Enter);
  } else if (command == "set") {
    words >> name;
    set(s, name, rest());
  } else if (command == "save") {
    words >> name;
    mark_of(s, name);
    s.ui.saves.emplace_back(name, rest());
    host.frame();
  } else if (command == "screenshot") {
    host.picture(s.ui.export_path(rest(), "png"));
  } else {
    require(command == "wait", ErrorKind::usage,
            "'{}': commands are panel, click, hover, drag, wheel, type, key, generate, set, save, wait, "
            "screenshot",
            command);
  }
}

}  // namespace

void settle(ScriptHost& host) {
  for (int i = 0; i < 400; i++) {
    if (host.state.ui.still || i > 3) host.state.engine.wait();
    host.frame();
    if (i >= 3 && host.state.engine.idle() && !host.state.ui.fonts_stale) break;
  }
}

void run_script(ScriptHost& host, const std::string& path) {
  std::ifstream in(path);
  require(in.good(), ErrorKind::usage, "--script {}: cannot be read", path);
  int n = 0;
  for (std::string line; std::getline(in, line);) {
    n++;
    std::istringstream words(line);
    std::string command;
    if (!(words >> command) || command[0] == '#') continue;
    settle(host);
    try {
      play(host, command, words);
    } catch (const Error& e) {
      fail(e.kind(), "{}:{}: {}", path, n, e.what());
    }
  }
  settle(host);
}

}  // namespace spindle
