// The curves of the rotary panel, and of the losses that methods are compared by.
#ifndef SPINDLE_WINDOW_ROTARY_PLOTS_H
#define SPINDLE_WINDOW_ROTARY_PLOTS_H
#include <optional>
#include <string>
#include <vector>

#include "viewer/window/plot.h"
#include "viewer/window/state.h"

namespace spindle {

ImU32 method_colour(const State& s, size_t method);
std::string method_title(const RotaryMethod& method);

Plot wavelengths_plot(const State& s);
Plot decay_plot(const State& s);
Plot stretch_plot(const State& s);
// The loss of each token, smoothed, of the sources that it was measured of (`of`: among these); none:
// nothing.
std::optional<Plot> loss_plot(const State& s, std::vector<int> of = {});

}  // namespace spindle
#endif
