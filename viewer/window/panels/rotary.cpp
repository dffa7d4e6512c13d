// Rotary frequencies under every method: what can be set, and rotation dials beside the curves.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "viewer/window/panels/rotary_plots.h"

namespace spindle {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (int m = 0; m <= static_cast<int>(RopeMethod::dca); m++)
    names.emplace_back(name_of(static_cast<RopeMethod>(m)));
  return names;
}

bool scales(RopeMethod m) {
  using enum RopeMethod;
  return m == linear || m == ntk || m == dynamic || m == ntk_parts || m == yarn || m == llama3;
}

// Hands that show where each pair stands at a position; the arc is what training has seen.
void draw_dials(State& s, ImVec2 size) {
  Ui& ui = s.ui;
  RotaryState& r = s.rotary;
  const RotaryMethod& m = r.methods[static_cast<size_t>(r.chosen)];
  const ImVec2 origin = ImGui::GetCursorScreenPos();
  ImGui::PushFont(bold_font());
  ImGui::TextUnformatted("Rotation");
  ImGui::PopFont();
  ImGui::SameLine();
  muted(ui, fitted(fmt::format("{} at {:.0f}; shaded: seen in training", method_title(m), r.position),
                   size.x - ui.px(84)));
  const std::vector<double> f = m.plan.inv_freq.empty() ? m.plan.inv_freq : inv_freq_at(m.plan, r.position);
  const float top = ImGui::GetCursorScreenPos().y, bottom = origin.y + size.y - ui.px(38);
  const int count = static_cast<int>(std::min<size_t>(f.size(), 10));
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const int columns = std::max(1, (count + 1) / 2), rows = count > 1 ? 2 : 1;
  const float cell_w = size.x / static_cast<float>(columns),
              cell_h = (bottom - top) / static_cast<float>(rows);
  const float radius =
      std::max(ui.px(8), std::min(cell_w * 0.5f - ui.px(10), (cell_h - ImGui::GetFontSize() - ui.px(8)) / 2));
  const auto cursor = ui.cursors.find("pair");
  for (int i = 0; i < count; i++) {
    const auto t = static_cast<size_t>(
        count < 2 ? 0 : static_cast<double>(i) * (static_cast<double>(f.size()) - 1) / (count - 1) + 0.5);
    const ImVec2 c = {origin.x + cell_w * (static_cast<float>(i % columns) + 0.5f),
                      top + cell_h * static_cast<float>(i / columns) + radius + ui.px(4)};
    const bool marked = cursor != ui.cursors.end() && std::abs(cursor->second - static_cast<double>(t)) <
                                                          static_cast<double>(f.size()) / (2.0 * count);
    list.AddCircleFilled(c, radius, ui.theme.raised, 48);
    // Angles grow clockwise from the top, as on a clock.
    const double seen =
        std::min(kTurn, rope_frequencies(r.model.n_rot, r.model.base)[t] * r.model.context_length);
    list.PathLineTo(c);
    list.PathArcTo(c, radius, -static_cast<float>(kTurn) / 4, static_cast<float>(seen - kTurn / 4), 48);
    list.PathFillConvex(faded(ui.theme.good, seen > kTurn / 2 && seen < kTurn ? 0.0f : 0.3f));
    if (seen > kTurn / 2 && seen < kTurn) {  // two convex halves
      for (int half = 0; half < 2; half++) {
        const double a = half ? kTurn / 2 : 0, b = half ? seen : kTurn / 2;
        list.PathLineTo(c);
        list.PathArcTo(c, radius, static_cast<float>(a - kTurn / 4), static_cast<float>(b - kTurn / 4), 32);
        list.PathFillConvex(faded(ui.theme.good, 0.3f));
      }
    }
    list.AddCircle(c, radius, marked ? ui.theme.text : ui.theme.border, 48, ui.px(marked ? 2.0f : 1.0f));
    const double angle = std::fmod(f[t] * r.position, kTurn);
    const bool unseen = f[t] * r.position > seen && seen < kTurn;
    const ImU32 colour = unseen ? ui.theme.bad : method_colour(s, static_cast<size_t>(r.chosen));
    const ImVec2 tip = {c.x + radius * 0.86f * static_cast<float>(std::sin(angle)),
                        c.y - radius * 0.86f * static_cast<float>(std::cos(angle))};
    list.AddLine(c, tip, colour, ui.px(2.5f));
    list.AddCircleFilled(c, ui.px(3), colour, 16);
    draw_text(list, {c.x, c.y + radius + ui.px(2)}, 0.5f, ui.theme.muted,
              fmt::format("{}: {}", t, number_text(kTurn / f[t])));
  }
  ImGui::SetCursorScreenPos({origin.x, bottom + ui.px(6)});
  double most = std::max(r.length, 2.0);
  slide(ui, "rotary.position", "position", r.position, 0, most, "%.0f", true, size.x / ui.scale - 90);
}

void draw_controls(State& s) {
  Ui& ui = s.ui;
  RotaryState& r = s.rotary;
  heading(ui, "Methods");
  ImGui::SameLine();
  static const std::vector<std::string> names = method_names();
  const float add = ui.px(86);
  ImGui::SetCursorPosX(ImGui::GetWindowContentRegionMax().x - add);
  ImGui::SetNextItemWidth(add);
  const bool open = ImGui::BeginCombo("###rotary.add", "+ add", ImGuiComboFlags_HeightLarge);
  ui.mark("rotary.add");
  if (open) {
    for (size_t i = 0; i < names.size(); i++) {
      if (ImGui::Selectable(names[i].c_str())) add_method(s, static_cast<RopeMethod>(i));
      ui.mark("rotary.add." + names[i]);
    }
    ImGui::EndCombo();
  }
  for (int i = 0; i < static_cast<int>(r.methods.size()); i++) {
    RotaryMethod& m = r.methods[static_cast<size_t>(i)];
    ImGui::PushID(i);
    ImGui::PushStyleColor(ImGuiCol_CheckMark, method_colour(s, static_cast<size_t>(i)));
    ImGui::Checkbox("##shown", &m.shown);
    ImGui::PopStyleColor();
    ImGui::SameLine();
    const float x_width = ImGui::CalcTextSize("×").x + 2 * ImGui::GetStyle().FramePadding.x;
    ImGui::PushStyleVar(ImGuiStyleVar_SelectableTextAlign, {0.02f, 0.5f});
    const float y = ImGui::GetCursorPosY();
    ImGui::SetCursorPosY(y - ImGui::GetStyle().FramePadding.y);  // else it stands lower than the tick
    const bool picked =
        ImGui::Selectable(method_title(m).c_str(), r.chosen == i, ImGuiSelectableFlags_AllowDoubleClick,
                          {ImGui::GetContentRegionAvail().x - (r.methods.size() > 1 ? x_width + ui.px(4) : 0),
                           ImGui::GetFrameHeight()});
    ImGui::PopStyleVar();
    if (picked) r.chosen = i;
    ui.mark(fmt::format("rotary.method.{}", i));
    if (r.methods.size() > 1) {
      ImGui::SameLine(0, ui.px(4));
      ImGui::SetCursorPosY(y);
      if (ImGui::SmallButton("×")) {
        r.methods.erase(r.methods.begin() + i);
        r.chosen = std::clamp(r.chosen - (r.chosen >= i), 0, static_cast<int>(r.methods.size()) - 1);
        ImGui::PopID();
        break;
      }
    }
    ImGui::PopID();
  }
  ImGui::Spacing();
  RotaryMethod& m = r.methods[static_cast<size_t>(r.chosen)];
  RopeRequest& q = m.request;
  int which = static_cast<int>(q.method.value_or(RopeMethod::none));
  heading(ui, "Parameters");
  bool changed = false;
  if (choose(ui, "rotary.method", "", which, names, 236)) {
    q.method = static_cast<RopeMethod>(which);
    q = without_foreign(q);
    if (scales(*q.method) && !q.factor) q.factor = 4;
    changed = true;
  }
  const RopeMethod method = q.method.value_or(RopeMethod::none);
  const auto number = [&](std::optional<double>& value, double otherwise, const char* name, const char* label,
                          double least, double most, const char* format, bool logarithmic = true) {
    double v = value.value_or(otherwise);
    if (slide(ui, name, label, v, least, most, format, logarithmic)) value = v, changed = true;
  };
  if (scales(method)) number(q.factor, 1, "rotary.factor", "factor", 1, 64, "%.2f");
  number(q.base, r.model.base, "rotary.base", "base", 100, 1e8, "%.0f");
  using enum RopeMethod;
  if (method == yarn) {
    number(q.beta_fast, 32, "rotary.beta_fast", "beta fast", 2, 256, "%.1f");
    number(q.beta_slow, 1, "rotary.beta_slow", "beta slow", 0.05, 1.9, "%.2f");
    number(q.extension, 1, "rotary.extension", "extension", 0, 1, "%.2f", false);
  }
  if (method == ntk_parts) {
    number(q.ntk_alpha, 1, "rotary.alpha", "alpha", 0.05, 16, "%.2f");
    number(q.ntk_beta, 32, "rotary.beta", "beta", 17, 256, "%.1f");
  }
  if (method == llama3) {
    number(q.llama3_low, 1, "rotary.low", "low", 0.1, 3.9, "%.2f");
    number(q.llama3_high, 4, "rotary.high", "high", 4, 64, "%.1f");
  }
  const double original = q.original_context.value_or(r.model.context_length);
  const auto whole = [&](std::optional<double>& value, double otherwise, const char* name, const char* label,
                         double least, double most) {
    number(value, otherwise, name, label, least, most, "%.0f");
    if (value) value = std::round(*value);
  };
  if (method == rerope || method == leaky_rerope)
    whole(q.window, original / 4, "rotary.window", "window", 2, std::max(4.0, original));
  if (method == leaky_rerope) number(q.leak, 16, "rotary.leak", "leak", 1.01, 64, "%.1f");
  if (method == self_extend) {
    whole(q.group_size, 8, "rotary.group_size", "group", 1, 64);
    whole(q.group_window, std::min(1024.0, original / 2), "rotary.group_window", "window", 2,
          std::max(4.0, original / 2));
  }
  if (method == dca)
    whole(q.chunk, std::floor(original * 5 / 8), "rotary.chunk", "chunk", 2, std::max(4.0, original));
  if (changed) r.stale = true;
  ImGui::PushTextWrapPos(0);
  if (!m.error.empty()) ImGui::TextColored(vector_of(ui.theme.bad), "%s", m.error.c_str());
  else
    muted(ui, fmt::format("attention factor {:.4f}{}", m.plan.magnitude,
                          m.plan.ramp.empty()
                              ? ""
                              : fmt::format(", {} of {} pairs kept", std::ranges::count(m.plan.ramp, 0.0),
                                            m.plan.ramp.size())));
  ImGui::PopTextWrapPos();
  ImGui::Spacing();
  const bool text = s.now && !s.now->tokens.empty() && m.error.empty();
  const bool busy = s.now && s.now->doing != Doing::nothing;
  if (!text || busy) ImGui::BeginDisabled();
  if (button(ui, "rotary.apply", "Run the text with it")) s.engine.set_positions(q);
  tooltip(ui, "The running text is read again, with the chosen method instead of the file's.");
  if (button(ui, "rotary.compare", "Compare those ticked", true)) {
    std::vector<NamedPositions> chosen;
    for (const RotaryMethod& each : r.methods)
      if (each.shown && each.error.empty()) chosen.push_back({method_title(each), each.request});
    s.engine.compare(chosen);
  }
  tooltip(ui, "The text is read under each ticked method; losses appear here, maps side by side in Map.");
  if (!text || busy) ImGui::EndDisabled();
  if (!text) {
    ImGui::PushTextWrapPos(0);
    muted(ui, "Both need a text: generate one above.");
    ImGui::PopTextWrapPos();
  }
}

}  // namespace

void add_method(State& s, RopeMethod method) {
  RotaryMethod m;
  m.request.method = method;
  if (scales(method)) m.request.factor = 4;
  s.rotary.methods.push_back(m);
  s.rotary.chosen = static_cast<int>(s.rotary.methods.size()) - 1;
  s.rotary.stale = true;
}

void plan_methods(State& s) {
  RotaryState& r = s.rotary;
  if (!r.stale) return;
  r.stale = false;
  for (RotaryMethod& m : r.methods) try {
      RopeModel model = r.model;
      m.plan = plan_rope(model, m.request);
      m.error.clear();
    } catch (const Error& e) {
      m.error = e.what();
    }
}

void draw_rotary(State& s) {
  Ui& ui = s.ui;
  plan_methods(s);
  const ImVec2 area = ImGui::GetContentRegionAvail();
  const float side = ui.px(276), gap = ui.px(10);
  ImGui::BeginChild("rotary controls", {side, area.y}, true);
  draw_controls(s);
  ImGui::EndChild();
  ImGui::SameLine(0, gap);
  ImGui::BeginGroup();
  const ImVec2 half = {(area.x - side - 2 * gap) / 2, (area.y - gap) / 2};
  const auto box = [&](const char* name, const std::function<void(ImVec2)>& draw) {
    ImGui::BeginChild(name, half, true, ImGuiWindowFlags_NoScrollbar | ImGuiWindowFlags_NoScrollWithMouse);
    draw(ImGui::GetContentRegionAvail());
    ImGui::EndChild();
  };
  box("a", [&](ImVec2 size) { draw_plot(ui, wavelengths_plot(s), size); });
  ImGui::SameLine(0, gap);
  box("b", [&](ImVec2 size) { draw_plot(ui, decay_plot(s), size); });
  ImGui::SetCursorPosY(ImGui::GetCursorPosY() + gap - ImGui::GetStyle().ItemSpacing.y);
  box("c", [&](ImVec2 size) { draw_dials(s, size); });
  ImGui::SameLine(0, gap);
  box("d", [&](ImVec2 size) {
    if (const auto plot = loss_plot(s)) {
      draw_plot(ui, *plot, size);
      return;
    }
    draw_plot(ui, stretch_plot(s), size);
  });
  ImGui::EndGroup();
}

}  // namespace spindle
