// Attention maps by their definition, in double precision.
#include <algorithm>
#include <cmath>

#include "shaders/attention_map/attention_map.h"

namespace spindle::reference {

std::vector<double> attention_map(std::span<const double> p, uint32_t n_heads, uint32_t n_keys,
                                  const MapImage& m) {
  const auto begin = [](uint64_t i, uint64_t n, uint64_t cells) {
    return static_cast<uint32_t>(i * n / cells);
  };
  std::vector<double> image(size_t{m.planes()} * m.n_lines * m.width);
  for (uint32_t h = 0; h < m.n_heads; h++)
    for (uint32_t y = 0; y < m.n_lines; y++)
      for (uint32_t x = 0; x < m.width; x++)
        for (uint32_t i = begin(m.first_line + y, m.n_queries, m.height);
             i < begin(m.first_line + y + 1, m.n_queries, m.height); i++)
          for (uint32_t j = begin(x, m.n_keys, m.width); j < begin(x + 1, m.n_keys, m.width); j++) {
            const uint32_t query = m.first_query + i, key = m.first_key + j;
            if (key < m.hidden_keys) continue;
            const double value = p[(size_t{query} * n_heads + m.first_head + h) * n_keys + key];
            const auto cell = [&](uint32_t plane) -> double& {
              return image[(size_t{plane} * m.n_lines + y) * m.width + x];
            };
            if (m.value == MapValue::max) cell(h) = std::max(cell(h), value);
            if (m.value == MapValue::sum) cell(h) += value;
            if (m.value != MapValue::statistics) continue;
            const uint32_t distance = query > key ? query - key : key - query,
                           first = h * MAP_STATISTICS_VALUES;
            cell(first) += value;
            cell(first + 1) -= value > 0 ? value * std::log(value) : 0;
            cell(first + 2) += value * distance;
            cell(first + 3) += key < m.n_sinks ? value : 0;
            cell(first + 4) += distance < m.window ? value : 0;
            cell(first + 5) += key + 1 == query ? value : 0;
          }
  return image;
}

}  // namespace spindle::reference
