// One frame: the prompt above, panels to choose from at the left, the chosen one, and a line of state below.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "viewer/window/state.h"

namespace spindle {
namespace {

constexpr const char* kPanelWords[] = {"where each token looks",
                                       "the text, token by token",
                                       "all heads at once",
                                       "frequencies and methods",
                                       "ALiBi and T5",
                                       "pages of keys and values",
                                       "kernels, speed and memory",
                                       "save, open, compare"};

void go(State& s) {
  if (s.prompt.empty()) return;
  s.welcome = false;
  s.map.follow = true;
  s.map.locked.reset();
  s.map.source = s.map.other = 0;
  s.engine.prompt(s.prompt, static_cast<uint32_t>(s.n_tokens));
}

void draw_prompt(State& s, float width) {
  Ui& ui = s.ui;
  const bool running = s.now->doing == Doing::writing || s.now->doing == Doing::reading;
  const std::string more = fmt::format("+{}", s.n_tokens);
  const float padding = 2 * ImGui::GetStyle().FramePadding.x, gap = ImGui::GetStyle().ItemSpacing.x,
              slider = ui.px(84);
  float right = 2 * slider + 5 * gap;
  for (const char* text : {running ? "Pause" : "Generate", "+1", more.c_str()})
    right += ImGui::CalcTextSize(text).x + padding;
  ImGui::SetNextItemWidth(width - right);
  if (s.ui.frame == 2 && !ui.still) ImGui::SetKeyboardFocusHere();
  if (ImGui::InputTextWithHint("###prompt", "Write a prompt, then press Enter", &s.prompt,
                               ImGuiInputTextFlags_EnterReturnsTrue))
    go(s);
  ui.mark("prompt");
  ImGui::SameLine();
  if (running) {
    if (button(ui, "pause", "Pause", true)) s.engine.pause();
  } else {
    if (button(ui, "generate", "Generate", true)) go(s);
  }
  ImGui::SameLine();
  const bool can_step = !running && !s.now->tokens.empty();
  if (!can_step) ImGui::BeginDisabled();
  if (button(ui, "step", "+1")) s.engine.write(1);
  tooltip(ui, "One more token");
  ImGui::SameLine();
  if (button(ui, "continue", more.c_str())) s.engine.write(static_cast<uint32_t>(s.n_tokens));
  tooltip(ui, "So many more tokens");
  if (!can_step) ImGui::EndDisabled();
  ImGui::SameLine();
  double n = s.n_tokens;
  if (slide(ui, "tokens", "", n, 1, 1024, "%.0f new", true, 84)) s.n_tokens = static_cast<int>(std::round(n));
  ImGui::SameLine();
  double temperature = s.sampling.temperature;
  if (slide(ui, "temperature", "", temperature, 0, 2, "temp %.2f", false, 84)) {
    s.sampling.temperature = static_cast<float>(temperature);
    s.engine.set_sampling(s.sampling);
  }
}

// The text as a bar: what is prompt, what was written; dragging goes back to where it was.
void draw_scrub(State& s, float width) {
  Ui& ui = s.ui;
  const auto n = static_cast<float>(s.now->tokens.size()),
             all = std::max(1.0f, static_cast<float>(s.now->context));
  float& wanted = s.scrub;
  const ImVec2 at = ImGui::GetCursorScreenPos();
  const float height = ui.px(8);
  ImGui::InvisibleButton("scrub", {width, height + ui.px(4)});
  ui.mark("scrub");
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const float span = std::max(n, std::min(all, 64.0f));
  const auto x_of = [&](float t) { return at.x + width * t / span; };
  list.AddRectFilled(at, {at.x + width, at.y + height}, ui.theme.raised, ui.px(3));
  if (n < 1) return;
  list.AddRectFilled(at, {x_of(std::min(n, static_cast<float>(s.now->n_prompt))), at.y + height},
                     ui.theme.accent, ui.px(3));
  list.AddRectFilled({x_of(static_cast<float>(s.now->n_prompt)), at.y}, {x_of(n), at.y + height},
                     ui.theme.good, ui.px(3));
  const float t = std::clamp((ImGui::GetIO().MousePos.x - at.x) / width * span, 1.0f, n);
  if (ImGui::IsItemActive()) wanted = t;
  if (ImGui::IsItemHovered() || ImGui::IsItemActive()) {
    const auto position = static_cast<uint32_t>(std::min(t, n - 1));
    ImGui::SetTooltip("%u of %.0f tokens: \"%s\"\nrelease to go back to here", position + 1, n,
                      token_text(s, position).c_str());
    list.AddRectFilled({x_of(t) - 1, at.y - ui.px(3)}, {x_of(t) + 1, at.y + height + ui.px(3)},
                       ui.theme.text);
  }
  if (ImGui::IsItemDeactivated() && wanted >= 0) {
    if (wanted < n - 0.5f) s.engine.truncate(static_cast<uint32_t>(std::max(1.0f, wanted)));
    wanted = -1;
  }
}

void draw_panels(State& s, float height) {
  Ui& ui = s.ui;
  ImGui::BeginChild("panels", {ui.px(138), height}, true, ImGuiWindowFlags_NoScrollbar);
  for (size_t i = 0; i < kPanelNames.size(); i++) {
    const bool chosen = s.panel == static_cast<Panel>(i);
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float row = std::clamp((height - ui.px(130)) / 8 - ui.px(8), ui.px(18), ui.px(34)),
                w = ImGui::GetContentRegionAvail().x;
    ImGui::InvisibleButton(kPanelNames[i], {w, row});
    std::string name = kPanelNames[i];
    name[0] = static_cast<char>(name[0] - 'A' + 'a');
    ui.mark("panel." + name);
    if (ImGui::IsItemClicked()) s.panel = static_cast<Panel>(i);
    tooltip(ui, kPanelWords[i]);
    ImDrawList& list = *ImGui::GetWindowDrawList();
    if (chosen) {
      list.AddRectFilled({at.x - ui.px(8), at.y}, {at.x + w + ui.px(8), at.y + row},
                         faded(ui.theme.accent, 0.18f), ui.px(5));
      list.AddRectFilled({at.x - ui.px(8), at.y + ui.px(7)}, {at.x - ui.px(5), at.y + row - ui.px(7)},
                         ui.theme.accent, ui.px(2));
    } else if (ImGui::IsItemHovered())
      list.AddRectFilled({at.x - ui.px(8), at.y}, {at.x + w + ui.px(8), at.y + row},
                         faded(ui.theme.raised, 0.8f), ui.px(5));
    const float y = at.y + (row - ImGui::GetFontSize()) / 2;
    list.AddText({at.x + ui.px(4), y}, chosen ? ui.theme.text : ui.theme.muted, kPanelNames[i]);
    draw_text(list, {at.x + w - ui.px(2), y}, 1, faded(ui.theme.muted, 0.7f), fmt::format("{}", i + 1));
  }
  if (height > ui.px(400)) {
    ImGui::SetCursorPosY(height - ui.px(88));
    if (button(ui, "theme", ui.theme.light ? "Dark" : "Light")) {
      ui.theme = ui.theme.light ? Theme::dark() : Theme::bright();
      ui.fonts_stale = true;
    }
    if (button(ui, "help", "Keys  ?")) s.help = !s.help;
  }
  ImGui::EndChild();
}

void draw_status(State& s) {
  Ui& ui = s.ui;
  const Snapshot& now = *s.now;
  std::string text;
  switch (now.doing) {
    case Doing::reading:
      text = fmt::format("reading the prompt: {} of {} tokens", now.done, now.all);
      break;
    case Doing::writing:
      text = "writing";
      break;
    case Doing::comparing:
      text = fmt::format("comparing: {} of {} tokens", now.done, now.all);
      break;
    default:
      text = now.tokens.empty() ? "ready"
                                : fmt::format("{} tokens, {} of the prompt", now.tokens.size(), now.n_prompt);
  }
  const std::string& notice = !now.error.empty() ? now.error : ui.notice;
  ImGui::PushStyleColor(ImGuiCol_Text, !now.error.empty() ? ui.theme.bad : ui.theme.muted);
  const SourceInfo* source = source_of(s, 0);
  std::string right = fmt::format("{}  ·  {}", source && !source->model.empty() ? source->model : "no model",
                                  s.engine.device().info().name);
  if (!ui.still && !now.rates.empty())
    right = fmt::format("{:.1f} tokens/s  ·  {}", now.rates.back().per_second, right);
  if (!ui.still && s.drawing_ms > 0) right = fmt::format("frame {:.1f} ms  ·  {}", s.drawing_ms, right);
  right = fitted(right, ImGui::GetContentRegionAvail().x * 0.6f);
  const float width = ImGui::CalcTextSize(right.c_str()).x, all = ImGui::GetContentRegionAvail().x;
  ImGui::TextUnformatted(
      fitted(notice.empty() ? text : fmt::format("{}  ·  {}", text, notice), all - width - ui.px(20))
          .c_str());
  if (ImGui::IsItemHovered() && !notice.empty()) ImGui::SetTooltip("%s", notice.c_str());
  ImGui::SameLine(all - width + ImGui::GetStyle().WindowPadding.x);
  ImGui::TextUnformatted(right.c_str());
  ImGui::PopStyleColor();
}

void draw_help(State& s) {
  Ui& ui = s.ui;
  const ImVec2 screen = ImGui::GetIO().DisplaySize, size = {ui.px(520), ui.px(492)};
  ImGui::SetNextWindowPos({0, 0});
  ImGui::SetNextWindowSize(screen);
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ui.theme.shade);
  ImGui::Begin("shade", nullptr, ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoInputs);
  ImGui::End();
  ImGui::PopStyleColor();
  ImGui::SetNextWindowPos({(screen.x - size.x) / 2, (screen.y - size.y) / 2});
  ImGui::SetNextWindowSize(size);
  ImGui::PushStyleColor(ImGuiCol_WindowBg, ui.theme.panel);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowBorderSize, 1);
  ImGui::SetNextWindowFocus();
  ImGui::Begin("keys", nullptr, ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove);
  heading(ui, "Keys", "while no text field is active");
  ImGui::Spacing();
  const std::pair<const char*, const char*> keys[] = {{"1 … 8", "panels"},
                                                      {"/", "to the prompt"},
                                                      {"Space", "pause, or go on"},
                                                      {"n", "one more token"},
                                                      {"← →", "head before, head after"},
                                                      {"↑ ↓", "layer before, layer after"},
                                                      {"0", "the whole map"},
                                                      {"+ −", "zoom at the middle"},
                                                      {"s", "hide or show sinks"},
                                                      {"l", "log, linear, rank"},
                                                      {"c", "next colours"},
                                                      {"t", "dark, light"},
                                                      {"?", "this list; Escape closes it"}};
  const std::pair<const char*, const char*> mouse[] = {
      {"wheel", "zoom the map; Shift: keys alone, Ctrl: queries alone"},
      {"drag", "move it; in the small map: move the frame"},
      {"click", "lock a cell or a token; again: let it go"},
      {"right click", "on a plot: save it as PNG, CSV or SVG"}};
  const auto table = [&](const auto& rows) {
    for (const auto& [key, what] : rows) {
      ImGui::TextColored(vector_of(ui.theme.accent), "%s", key);
      ImGui::SameLine(ui.px(110));
      ImGui::TextUnformatted(what);
    }
  };
  table(keys);
  ImGui::Spacing();
  table(mouse);
  ImGui::End();
  ImGui::PopStyleVar();
  ImGui::PopStyleColor();
}

void draw_welcome(State& s) {
  Ui& ui = s.ui;
  ImGui::Dummy({1, ui.px(30)});
  const float width = std::min(ui.px(680), ImGui::GetContentRegionAvail().x);
  ImGui::SetCursorPosX((ImGui::GetWindowWidth() - width) / 2);
  ImGui::BeginGroup();
  ImGui::PushTextWrapPos(ImGui::GetCursorPosX() + width);
  ImGui::SetWindowFontScale(1.5f);
  ImGui::PushFont(bold_font());
  ImGui::TextUnformatted("See where a model looks");
  ImGui::PopFont();
  ImGui::SetWindowFontScale(1);
  ImGui::Spacing();
  muted(ui,
        "Write a prompt above and press Enter. The model reads it and goes on, and each panel shows another "
        "side of what it did. Or begin with one of these:");
  ImGui::Spacing();
  const char* const prompts[] = {
      "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in "
      "want of a wife.",
      "Once upon a time there was a ship, and the captain of the ship was an old man. The captain",
      "The key is under the stone. The dog is in the garden. Where is the key? The key is"};
  for (int i = 0; i < 3; i++) {
    ImGui::PushID(i);
    ImGui::PushStyleVar(ImGuiStyleVar_ButtonTextAlign, {0, 0.5f});
    const bool chosen = ImGui::Button(fitted(prompts[i], width - ui.px(30)).c_str(), {width, ui.px(36)});
    ui.mark(fmt::format("welcome.{}", i));
    ImGui::PopStyleVar();
    if (chosen) s.prompt = prompts[i], go(s);
    ImGui::PopID();
  }
  ImGui::Spacing();
  ImGui::Spacing();
  for (size_t i = 0; i < kPanelNames.size(); i++) {
    ImGui::PushFont(bold_font());
    ImGui::TextUnformatted(kPanelNames[i]);
    ImGui::PopFont();
    ImGui::SameLine();
    ImGui::SetCursorPosX((ImGui::GetWindowWidth() - width) / 2 + ui.px(96));
    muted(ui, kPanelWords[i]);
  }
  ImGui::PopTextWrapPos();
  ImGui::EndGroup();
}

void handle_keys(State& s) {
  const ImGuiIO& io = ImGui::GetIO();
  if (pressed(ImGuiKey_Escape)) s.help = false;
  if (io.WantTextInput) return;
  MapView& v = s.map;
  const MapLayer* layer = layer_of(s, v.source, v.layer);
  const int heads = layer ? static_cast<int>(layer->n_heads) + 2 : 1;
  if (pressed(ImGuiKey_LeftArrow, true)) v.head = (v.head + heads - 1) % heads;
  if (pressed(ImGuiKey_RightArrow, true)) v.head = (v.head + 1) % heads;
  const SourceInfo* source = source_of(s, v.source);
  if (pressed(ImGuiKey_UpArrow, true) && layer_of(s, v.source, v.layer - 1)) v.layer--;
  if (pressed(ImGuiKey_DownArrow, true) && layer_of(s, v.source, v.layer + 1)) v.layer++;
  if (pressed(ImGuiKey_Space)) {
    if (s.now->doing == Doing::nothing && !s.now->tokens.empty())
      s.engine.write(static_cast<uint32_t>(s.n_tokens));
    else s.engine.pause();
  }
  for (ImWchar c : io.InputQueueCharacters) {
    if (c >= '1' && c <= '8') s.panel = static_cast<Panel>(c - '1'), s.welcome = false;
    if (c == '?') s.help = !s.help;
    if (c == 'n') s.engine.write(1);
    if (c == 's') v.hidden_keys = v.hidden_keys ? 0 : 4;
    if (c == 'l') v.scale = (v.scale + 1) % 3;
    if (c == 'c')
      s.ui.colours = static_cast<Colours>((static_cast<size_t>(s.ui.colours) + 1) % colour_names().size());
    if (c == '0') v.follow = true;
    if (c == '/') s.to_prompt = true;
    if (c == 't') s.ui.theme = s.ui.theme.light ? Theme::dark() : Theme::bright(), s.ui.fonts_stale = true;
    if ((c == '+' || c == '-') && source && source->n_tokens) {
      const double factor = c == '+' ? 0.8 : 1.25, n = source->n_tokens;
      for (auto [low, high] : {std::pair{&v.query0, &v.query1}, std::pair{&v.key0, &v.key1}}) {
        const double middle = (*low + *high) / 2,
                     width = std::clamp((*high - *low) * factor, std::min(4.0, n), n);
        *low = std::clamp(middle - width / 2, 0.0, n - width);
        *high = *low + width;
      }
      v.follow = v.query1 - v.query0 >= n;
    }
  }
}

}  // namespace

void draw_window(State& s) {
  Ui& ui = s.ui;
  ui.begin_frame();
  s.now = s.engine.snapshot();
  handle_keys(s);
  size_t& looked_at = s.looked_at;
  if (s.now->tokens.size() < looked_at) looked_at = 0;
  for (; looked_at < s.now->tokens.size(); looked_at++) ui.will_show(visible(s.now->tokens[looked_at].text));
  ui.will_show(s.prompt);
  const ImVec2 screen = ImGui::GetIO().DisplaySize;
  ImGui::SetNextWindowPos({0, 0});
  ImGui::SetNextWindowSize(screen);
  ImGui::PushStyleVar(ImGuiStyleVar_WindowRounding, 0);
  ImGui::Begin("spindle", nullptr,
               ImGuiWindowFlags_NoDecoration | ImGuiWindowFlags_NoMove |
                   ImGuiWindowFlags_NoBringToFrontOnFocus | ImGuiWindowFlags_NoSavedSettings);
  ImGui::PopStyleVar();
  const float width = ImGui::GetContentRegionAvail().x;
  if (s.to_prompt) ImGui::SetKeyboardFocusHere(), s.to_prompt = false;
  draw_prompt(s, width);
  draw_scrub(s, width);
  const float height = ImGui::GetContentRegionAvail().y - ImGui::GetFontSize() - ui.px(10);
  draw_panels(s, height);
  ImGui::SameLine();
  // Maps of panels that are not shown cost nothing.
  if (s.panel != Panel::map)
    for (const char* key : {"map", "other", "mini"}) s.engine.want_map(key, nullptr);
  if (s.panel != Panel::tokens || !s.tokens.lines) s.engine.want_map("lines", nullptr);
  if (s.panel != Panel::heads)
    for (uint32_t i = 0; i < (s.now->sources.empty() ? 0 : s.now->sources[0].n_layers); i++)
      s.engine.want_map(fmt::format("layer.{}", i), nullptr);
  if (s.profiled != (s.panel == Panel::time)) {
    s.profiled = !s.profiled;
    s.engine.profile(s.profiled);
  }
  ImGui::PushStyleColor(ImGuiCol_ChildBg, 0);
  // A panel keeps a size that can be read, and scrolls where the window is smaller.
  ImGui::SetNextWindowContentSize(
      {std::max(ImGui::GetContentRegionAvail().x, ui.px(860)), std::max(height - ui.px(1), ui.px(440))});
  ImGui::BeginChild("panel", {0, height}, false,
                    height < ui.px(440) || ImGui::GetContentRegionAvail().x < ui.px(860)
                        ? ImGuiWindowFlags_HorizontalScrollbar
                        : ImGuiWindowFlags_NoScrollbar);
  ImGui::PopStyleColor();
  ImGui::PushStyleColor(ImGuiCol_ChildBg, ui.theme.panel);
  void (*const draw[])(State&) = {draw_map,  draw_tokens, draw_heads, draw_rotary,
                                  draw_bias, draw_cache,  draw_time,  draw_captures};
  if (s.welcome && s.now->tokens.empty() && s.now->doing == Doing::nothing && s.panel == Panel::map)
    draw_welcome(s);
  else draw[static_cast<size_t>(s.panel)](s);
  ImGui::PopStyleColor();
  ImGui::EndChild();
  draw_status(s);
  ImGui::End();
  if (s.help) draw_help(s);
}

}  // namespace spindle
