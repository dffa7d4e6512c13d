// The text itself, coloured by what a token looks at: search, spans, lines, and the next token's chances.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "viewer/window/state.h"

namespace spindle {
namespace {

ImU32 shade(const State& s, float p) {
  const double floor = std::pow(10, -s.map.decades);
  const double t = s.map.scale == 1 ? p
                   : p <= 0
                       ? 0
                       : std::clamp(1 + std::log10(std::max<double>(p, floor)) / s.map.decades, 0.0, 1.0);
  return faded(s.ui.theme.accent, static_cast<float>(0.75 * t));
}

std::shared_ptr<const RowFound> locked_row(State& s) {
  if (!s.map.locked) return nullptr;
  request_row(s, s.map.locked->query);
  const auto row = s.engine.row();
  return row && row->want.query == s.map.locked->query &&
                 row->want.layer == static_cast<uint32_t>(s.map.layer)
             ? row
             : nullptr;
}

bool in_span(const State& s, int i) {
  const auto& t = s.tokens;
  return t.first >= 0 && i >= std::min(t.first, t.last) && i <= std::max(t.first, t.last);
}

bool matches(const State& s, const std::string& text) {
  return !s.tokens.search.empty() && text.find(s.tokens.search) != std::string::npos;
}

void token_tip(State& s, uint32_t i, const RowFound* row) {
  const MapToken& t = s.now->tokens[i];
  ImGui::BeginTooltip();
  ImGui::TextUnformatted(visible(t.text).c_str());
  muted(s.ui, fmt::format("token {} at position {}{}", t.id, i,
                          i < s.now->n_prompt ? ", of the prompt" : ", generated"));
  if (row && i < row->row.probabilities.size()) {
    const auto& p = row->row.probabilities;
    ImGui::Text("probability %s, rank %d", number_text(p[i]).c_str(),
                static_cast<int>(1 + std::ranges::count_if(p, [&](float x) { return x > p[i]; })));
    ImGui::Text("score %s",
                row->row.scores[i] <= -1e29f ? "not seen" : number_text(row->row.scores[i]).c_str());
  }
  ImGui::EndTooltip();
}

// Flowing text; only what is on screen is laid out in full.
void draw_flow(State& s, const RowFound* row) {
  Ui& ui = s.ui;
  auto& t = s.tokens;
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const ImVec2 origin = ImGui::GetCursorScreenPos();
  const float width = ImGui::GetContentRegionAvail().x, height = ImGui::GetFontSize() + ui.px(9);
  const float top = ImGui::GetWindowPos().y, bottom = top + ImGui::GetWindowHeight();
  float x = 0, y = 0;
  const auto& tokens = s.now->tokens;
  for (uint32_t i = 0; i < tokens.size(); i++) {
    const std::string text = visible(tokens[i].text);
    const float w = ImGui::CalcTextSize(text.c_str()).x + ui.px(6);
    if (x + w > width && x > 0) x = 0, y += height;
    const ImVec2 at = {origin.x + x, origin.y + y};
    if (at.y + height >= top && at.y <= bottom) {
      const ImVec2 end = {at.x + w, at.y + height - ui.px(3)};
      const bool hovered = ImGui::IsMouseHoveringRect(at, end) && ImGui::IsWindowHovered();
      if (row && i < row->row.probabilities.size())
        list.AddRectFilled(at, end, shade(s, row->row.probabilities[i]), ui.px(3));
      if (in_span(s, static_cast<int>(i))) list.AddRectFilled(at, end, faded(ui.theme.good, 0.3f), ui.px(3));
      if (matches(s, tokens[i].text)) list.AddRect(at, end, ui.theme.warning, ui.px(3), 0, ui.px(1.5f));
      if (s.map.locked && s.map.locked->query == i)
        list.AddRect(at, end, ui.theme.text, ui.px(3), 0, ui.px(2));
      else if (hovered) list.AddRect(at, end, ui.theme.muted, ui.px(3));
      list.AddText({at.x + ui.px(3), at.y + ui.px(2)}, i < s.now->n_prompt ? ui.theme.text : ui.theme.good,
                   text.c_str());
      ui.mark(fmt::format("token.{}", i), at, end);
      if (hovered) {
        token_tip(s, i, row);
        if (ImGui::IsMouseClicked(0)) {
          if (ImGui::GetIO().KeyShift && t.first >= 0) t.last = static_cast<int>(i);
          else {
            t.first = t.last = static_cast<int>(i);
            s.map.locked = Cell{i, i};
          }
        }
        if (ImGui::IsMouseDown(0) && t.first >= 0) t.last = static_cast<int>(i);
      }
    }
    x += w;
    if (tokens[i].text.find('\n') != std::string::npos) x = 0, y += height;
  }
  ImGui::Dummy({width, y + height});
}

// Queries on the left, keys on the right: the strongest pairs of the locked query, and fainter the few
// strongest of every other query on screen.
void draw_lines(State& s, const RowFound* row) {
  Ui& ui = s.ui;
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const ImVec2 origin = ImGui::GetCursorScreenPos();
  const ImVec2 area = ImGui::GetContentRegionAvail();
  const float height = ImGui::GetFontSize() + ui.px(4);
  const auto n = static_cast<uint32_t>(s.now->tokens.size());
  const uint32_t rows = std::max(2u, static_cast<uint32_t>(area.y / height)) - 1;
  const uint32_t query = s.map.locked ? s.map.locked->query : n - 1;
  const uint32_t first = query + 1 > rows ? query + 1 - rows : 0, last = std::min(n, first + rows);
  const float left = origin.x + area.x * 0.3f, right = origin.x + area.x * 0.7f;
  for (uint32_t i = first; i < last; i++) {
    const float y = origin.y + static_cast<float>(i - first) * height;
    const std::string text = fitted(token_text(s, i), area.x * 0.26f);
    draw_text(list, {left - ui.px(8), y}, 1, i == query ? ui.theme.accent : ui.theme.text, text);
    draw_text(list, {right + ui.px(8), y}, 0, ui.theme.text, text);
    const ImVec2 from = {origin.x, y}, to = {left, y + height};
    ui.mark(fmt::format("line.{}", i), from, to);
    if (ImGui::IsMouseHoveringRect(from, to) && ImGui::IsWindowHovered() && ImGui::IsMouseClicked(0))
      s.map.locked = Cell{i, i};
  }
  const auto y_of = [&](uint32_t i) {
    return origin.y + static_cast<float>(i - first) * height + height / 2;
  };
  MapWant want;
  want.source = static_cast<size_t>(s.map.source);
  want.request.layer = static_cast<uint32_t>(s.map.layer);
  if (const MapLayer* l = layer_of(s, s.map.source, s.map.layer))
    want.request.first_head = std::min(static_cast<uint32_t>(s.map.head), l->n_heads - 1);
  want.request.region = {first, last - first, first, last - first};
  want.request.width = want.request.height = last - first;
  s.engine.want_map("lines", &want);
  if (const auto image = s.engine.map("lines"); image && image->want.request.region == want.request.region) {
    const uint32_t n_keys = image->want.request.width;
    for (uint32_t i = first; i < last; i++) {
      if (i == query || i - first >= image->want.request.height) continue;
      const auto p = std::span(image->values).subspan(size_t{i - first} * n_keys, n_keys);
      std::vector<uint32_t> order(n_keys);
      std::iota(order.begin(), order.end(), 0u);
      const auto top =
          static_cast<std::ptrdiff_t>(std::min<uint32_t>(static_cast<uint32_t>(s.tokens.top), n_keys));
      std::partial_sort(order.begin(), order.begin() + top, order.end(),
                        [&](uint32_t a, uint32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
      for (std::ptrdiff_t k = 0; k < top; k++)
        if (const float v = p[order[static_cast<size_t>(k)]]; v > 0.01f)
          list.AddLine({left, y_of(i)}, {right, y_of(first + order[static_cast<size_t>(k)])},
                       faded(ui.theme.muted, std::clamp(0.1f + 0.5f * v, 0.0f, 0.6f)), ui.px(1 + 2 * v));
    }
  }
  if (row) {
    const auto& p = row->row.probabilities;
    std::vector<uint32_t> order(p.size());
    std::iota(order.begin(), order.end(), 0u);
    std::ranges::sort(order, [&](uint32_t a, uint32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
    const float y0 = y_of(query);
    float elsewhere = 0;
    for (size_t i = 0; i < order.size() && i < 24; i++) {
      if (order[i] < first) {
        elsewhere += p[order[i]];
        continue;
      }
      list.AddLine({left, y0}, {right, y_of(order[i])},
                   faded(ui.theme.accent, std::clamp(0.15f + 1.5f * std::sqrt(p[order[i]]), 0.0f, 1.0f)),
                   ui.px(1 + 6 * p[order[i]]));
    }
    if (elsewhere > 0)
      draw_text(list, {origin.x + area.x / 2, origin.y + area.y - height}, 0.5f, ui.theme.muted,
                fmt::format("{} of its probability lies before these lines", number_text(elsewhere)));
  }
  ImGui::Dummy(area);
}

void draw_span(State& s, const RowFound* row) {
  Ui& ui = s.ui;
  const auto& t = s.tokens;
  if (t.first < 0) {
    ImGui::PushTextWrapPos(0);
    muted(ui, "Click a token to see what it looks at; drag or Shift-click for a span.");
    ImGui::PopTextWrapPos();
    return;
  }
  const int a = std::min(t.first, t.last), b = std::max(t.first, t.last);
  if (a == b) ImGui::Text("token %d", a);
  else ImGui::Text("%d to %d: %d tokens", a, b, b - a + 1);
  if (!row) return;
  double sum = 0;
  for (int i = a; i <= b && static_cast<size_t>(i) < row->row.probabilities.size(); i++)
    sum += row->row.probabilities[static_cast<size_t>(i)];
  if (s.map.locked) muted(ui, fmt::format("what {} gives it:", s.map.locked->query));
  ImGui::Text("probability %s", number_text(sum).c_str());
  if (a != b) ImGui::Text("mean %s", number_text(sum / (b - a + 1)).c_str());
}

// What comes next, and how temperature changes it.
void draw_next(State& s) {
  Ui& ui = s.ui;
  heading(ui, "Next token");
  slide(ui, "tokens.temperature", "temp", s.tokens.temperature, 0.05, 3, "%.2f", true, 170);
  if (!s.now->logits || s.now->logits->empty() || !s.engine.model()) {
    muted(ui, s.now->doing == Doing::nothing ? "after a prompt" : "while the text rests");
    return;
  }
  const std::vector<float>& logits = *s.now->logits;
  std::vector<uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0u);
  const size_t n = std::min<size_t>(order.size(), 12);
  std::partial_sort(
      order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
      [&](uint32_t a, uint32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  double sum = 0;
  for (float x : logits) sum += std::exp((x - logits[order[0]]) / s.tokens.temperature);
  ImDrawList& list = *ImGui::GetWindowDrawList();
  for (size_t i = 0; i < n; i++) {
    const double p = std::exp((logits[order[i]] - logits[order[0]]) / s.tokens.temperature) / sum;
    const ImVec2 at = ImGui::GetCursorScreenPos();
    const float bar = ImGui::GetContentRegionAvail().x;
    list.AddRectFilled(at, {at.x + bar * static_cast<float>(p), at.y + ImGui::GetFontSize() + ui.px(2)},
                       faded(ui.theme.good, 0.35f), ui.px(2));
    const std::string text = visible(s.engine.model()->tokenizer().piece(static_cast<int>(order[i]), true));
    ui.will_show(text);
    draw_text(list, {at.x + ui.px(4), at.y + 1}, 0, ui.theme.text, fitted(text, bar - ui.px(70)));
    draw_text(list, {at.x + bar - ui.px(2), at.y + 1}, 1, ui.theme.muted, fmt::format("{:.1f} %", 100 * p));
    ImGui::Dummy({bar, ImGui::GetFontSize()});
  }
}

}  // namespace

void draw_tokens(State& s) {
  Ui& ui = s.ui;
  auto& t = s.tokens;
  choose_head(s);
  ImGui::SameLine();
  ImGui::SetNextItemWidth(ui.px(180));
  ImGui::InputTextWithHint("###tokens.search", "search the text", &t.search);
  ui.mark("tokens.search");
  if (!t.search.empty() && s.now) {
    ImGui::SameLine();
    ImGui::AlignTextToFramePadding();
    muted(ui, fmt::format("{} tokens", std::ranges::count_if(s.now->tokens, [&](const MapToken& k) {
                            return matches(s, k.text);
                          })));
  }
  ImGui::SameLine();
  toggle(ui, "tokens.lines", "lines", t.lines);
  if (t.lines) {
    ImGui::SameLine();
    double top = t.top;
    if (slide(ui, "tokens.top", "", top, 1, 10, "top %.0f", false, 84))
      t.top = static_cast<int>(std::round(top));
    tooltip(ui, "Keys that are joined to each query; the locked one has more");
  }
  if (!s.now || s.now->tokens.empty()) {
    ImGui::Dummy({1, ui.px(40)});
    muted(ui, "There is no text yet. Write a prompt above and press Enter.");
    return;
  }
  const auto row = locked_row(s);
  const ImVec2 area = ImGui::GetContentRegionAvail();
  const float side = ui.px(268), gap = ui.px(10);
  ImGui::BeginChild("text", {area.x - side - gap, area.y}, true);
  if (t.lines) draw_lines(s, row.get());
  else draw_flow(s, row.get());
  ImGui::EndChild();
  ImGui::SameLine(0, gap);
  ImGui::BeginGroup();
  ImGui::BeginChild("span", {side, ui.px(142)}, true);
  heading(ui, "Span");
  draw_span(s, row.get());
  ImGui::EndChild();
  ImGui::BeginChild("next", {side, 0}, true);
  draw_next(s);
  ImGui::EndChild();
  ImGui::EndGroup();
}

}  // namespace spindle
