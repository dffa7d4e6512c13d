// The options of `spindle attention`, and the request that they make.
#include "app/attention_flags.h"

#include <charconv>

#include "runtime/error.h"
#include "viewer/colours.h"

namespace spindle {
namespace {

constexpr uint32_t kPictureCells = 1024;  // of a side, of a picture whose size was not given

std::optional<uint32_t> whole(std::string_view text) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "a:b": from a up to, not with, b; either may be left out.
std::pair<uint32_t, uint32_t> range_of(const char* flag, const std::string& text, uint32_t first,
                                       uint32_t end) {
  if (text.empty()) return {first, end - first};
  const size_t colon = text.find(':');
  std::optional<uint32_t> a = first, b = end;
  if (colon != std::string::npos && colon > 0) a = whole(std::string_view(text).substr(0, colon));
  if (colon != std::string::npos && colon + 1 < text.size())
    b = whole(std::string_view(text).substr(colon + 1));
  require(colon != std::string::npos && a && b && *a < *b && *a >= first && *b <= end, ErrorKind::usage,
          "{} {}: allowed are ranges a:b of positions within {}:{}", flag, text, first, end);
  return {*a, *b - *a};
}

}  // namespace

void AttentionFlags::add(CLI::App& command) {
  prompt.add(command, "the text whose attention is shown");
  command.add_option("-n,--predict", n, "tokens to generate after it, the most probable ones")
      ->capture_default_str();
  command.add_option("--layer", layer, "which layer, from 0 on; --heads and --capture: default all")
      ->check(in_range(0));
  command.add_option("--head", head, "which head, from 0 on; --npy: -1 for all")
      ->capture_default_str()
      ->check(in_range(-1));
  command.add_option("--png", png, "write a picture");
  command.add_option("--npy", npy,
                     "write the probabilities as a numpy array, f32 [queries, keys] or of --size");
  command.add_flag("--csv", csv, "print them, a line for each query");
  command.add_flag("--json", json, "print them with the tokens as JSON");
  command.add_flag(
      "--heads", heads,
      "print what each head does: entropy (nats), mean distance (positions), probability of the first 4 "
      "keys, of near keys and of the key before");
  command.add_option("--window", window, "--heads: how many positions are near, the query's own included")
      ->capture_default_str()
      ->check(in_range(1));
  command.add_option("--size", size,
                     "cells, WIDTHxHEIGHT; default: one for each position, pictures at most 1024x1024");
  command.add_option("--pool", pool, "what a cell shows of its probabilities")
      ->capture_default_str()
      ->check(CLI::IsMember({"max", "mean", "sum"}));
  command.add_option("--scale", scale, "of a picture's values: log over 5 decades, linear, or rank")
      ->capture_default_str()
      ->check(CLI::IsMember(scale_names()));
  command.add_option("--colours", colours, "of a picture; default viridis, for differences diverging")
      ->check(CLI::IsMember(colour_names()));
  command.add_flag("--hide-sinks{4}", hidden, "leave out the first 4 keys; --hide-sinks=N: the first N");
  command.add_option("--queries", queries, "a:b, positions from a up to b, without b");
  command.add_option("--keys", keys, "likewise");
  command.add_option("--capture", capture, "save what maps need to a file that --open takes");
  command.add_option("--open", open, "maps of a capture file; no model is needed")
      ->excludes("--prompt")
      ->excludes("--file");
  command.add_option("--compare", compare, "show the differences from another capture's map");
  model.add(command);
  device.add(command);
}

MapRequest AttentionFlags::request(const AttentionMaps& maps) const {
  MapRequest r;
  r.layer = layer < 0 ? maps.layers().at(0).index : static_cast<uint32_t>(layer);
  const MapLayer& l = maps.layer(r.layer);
  r.first_head = head < 0 ? 0 : static_cast<uint32_t>(head);
  r.n_heads = head < 0 ? l.n_heads : 1;
  require(r.first_head < l.n_heads, ErrorKind::usage, "--head {}: layer {} has heads 0 to {}", head, r.layer,
          l.n_heads - 1);
  require(head >= 0 || (png.empty() && !csv && !json), ErrorKind::usage,
          "--head -1: only --npy takes all heads");
  std::tie(r.region.first_query, r.region.n_queries) =
      range_of("--queries", queries, maps.first_query(), maps.end_query());
  std::tie(r.region.first_key, r.region.n_keys) = range_of("--keys", keys, 0, maps.n_tokens());
  r.width = r.region.n_keys;
  r.height = r.region.n_queries;
  if (size.empty() && !png.empty()) {
    r.width = std::min(r.width, kPictureCells);
    r.height = std::min(r.height, kPictureCells);
  } else if (!size.empty()) {
    const size_t by = size.find('x');
    const auto w = whole(size.substr(0, by)), h = by == std::string::npos ? w : whole(size.substr(by + 1));
    require(w && h && *w > 0 && *h > 0, ErrorKind::usage, "--size {}: expected WIDTHxHEIGHT", size);
    r.width = *w;
    r.height = *h;
  }
  r.pool = pool == "max" ? Pool::max : pool == "mean" ? Pool::mean : Pool::sum;
  r.hidden_keys = hidden;
  return r;
}

StatisticsOptions AttentionFlags::statistics(const AttentionMaps& maps) const {
  StatisticsOptions o;
  std::tie(o.first_query, o.n_queries) = range_of("--queries", queries, maps.first_query(), maps.end_query());
  o.window = window;
  return o;
}

}  // namespace spindle
