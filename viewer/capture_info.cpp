// A capture's plans as JSON and back, every number checked.
#include "viewer/capture_info.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/error.h"
#include "shaders/attention/cache.h"

namespace spindle {
namespace {

using Json = nlohmann::json;

constexpr uint32_t kMost = 1u << 30;

uint32_t number(const Json& j, const char* key, uint32_t least, uint32_t most) {
  const Json& v = j.at(key);
  require(v.is_number_unsigned() && v.get<uint64_t>() >= least && v.get<uint64_t>() <= most,
          ErrorKind::model_file, "{} is {}, allowed are {} to {}", key, v.dump(), least, most);
  return v.get<uint32_t>();
}

double real(const Json& j, const char* key) {
  const Json& v = j.at(key);
  require(v.is_number() && std::isfinite(v.get<double>()), ErrorKind::model_file,
          "{} is {}, not a finite number", key, v.dump());
  return v.get<double>();
}

// As many as allowed, or none.
template <class T>
std::vector<T> reals(const Json& j, const char* key, size_t step, size_t most) {
  const Json& list = j.at(key);
  require(list.is_array() && list.size() <= most && list.size() % std::max<size_t>(step, 1) == 0,
          ErrorKind::model_file, "{} has {} numbers, allowed are multiples of {} up to {}", key, list.size(),
          step, most);
  std::vector<T> values;
  for (const Json& v : list) {
    require(v.is_number() && std::isfinite(v.get<double>()), ErrorKind::model_file, "{} holds {}", key,
            v.dump());
    values.push_back(v.get<T>());
  }
  return values;
}

Json forms_json(const std::vector<RotaryForm>& forms) {
  Json list = Json::array();
  for (const RotaryForm& f : forms)
    list.push_back({{"modulo", f.map.modulo},
                    {"divide", f.map.divide},
                    {"offset", f.map.offset},
                    {"cap", f.map.cap},
                    {"scale", f.scale},
                    {"phase", f.phase}});
  return list;
}

std::vector<RotaryForm> parse_forms(const Json& list) {
  require(list.is_array() && list.size() <= 4, ErrorKind::model_file, "{} rotary forms, allowed are up to 4",
          list.size());
  std::vector<RotaryForm> forms;
  for (const Json& f : list)
    forms.push_back({{number(f, "modulo", 0, UINT32_MAX), number(f, "divide", 1, UINT32_MAX),
                      number(f, "offset", 0, UINT32_MAX), number(f, "cap", 0, UINT32_MAX)},
                     real(f, "scale"),
                     real(f, "phase")});
  return forms;
}

Json edge_json(const KeyEdge& e) { return {{"kind", e.kind}, {"n", e.n}, {"back", e.back}}; }

KeyEdge parse_edge(const Json& j) {
  KeyEdge e{number(j, "kind", 0, 3), number(j, "n", 0, kMost), number(j, "back", 0, 3)};
  require(e.kind != EDGE_CHUNK || e.n > 0, ErrorKind::model_file, "chunks of 0 positions");
  return e;
}

Json pass_json(const KeyPass& p) {
  return {{"from", edge_json(p.from)}, {"to", edge_json(p.to)},
          {"query", p.query},          {"keys", p.keys},
          {"stride", p.stride},        {"clipped", p.clipped},
          {"closed_up", p.closed_up},  {"shifted", p.shifted},
          {"listed", p.listed},        {"n_random", p.n_random},
          {"random", p.random}};
}

KeyPass parse_pass(const Json& j) {
  KeyPass p;
  p.from = parse_edge(j.at("from"));
  p.to = parse_edge(j.at("to"));
  p.query = number(j, "query", 0, 3);
  p.keys = number(j, "keys", 0, 1);
  p.stride = number(j, "stride", 1, 4095);
  p.clipped = j.at("clipped").get<bool>();
  p.closed_up = j.at("closed_up").get<bool>();
  p.shifted = j.at("shifted").get<bool>();
  p.listed = j.at("listed").get<bool>();
  p.n_random = number(j, "n_random", 0, 4);
  p.random = number(j, "random", 0, std::max(p.n_random, 1u) - 1);
  require((p.stride == 1 && p.n_random == 0) || p.from.kind == EDGE_CHUNK, ErrorKind::model_file,
          "a pass of strides or random blocks without chunks");
  return p;
}

Json layer_json(const MapLayer& l) {
  const AttentionShape& s = l.plan.shape;
  Json passes = Json::array();
  for (const KeyPass& p : s.passes) passes.push_back(pass_json(p));
  return {{"index", l.index},
          {"n_heads", l.n_heads},
          {"n_kv_heads", l.n_kv_heads},
          {"head_dim", l.head_dim},
          {"k_type", std::string(info(l.k_type).name)},
          {"n_rot", l.n_rot},
          {"halves", l.halves},
          {"scale", s.scale},
          {"passes", passes},
          {"soft_cap", s.soft_cap},
          {"slopes", s.slopes},
          {"bias", s.bias},
          {"bias_both_ways", s.bias_both_ways},
          {"sinks", s.sinks},
          {"seed", s.seed},
          {"queries", forms_json(l.plan.queries)},
          {"keys", forms_json(l.plan.keys)},
          {"inv_freq", l.plan.inv_freq},
          {"magnitude", l.plan.magnitude},
          {"temperature",
           {{"base", l.plan.temperature.base},
            {"slope", l.plan.temperature.slope},
            {"offset", l.plan.temperature.offset},
            {"width", l.plan.temperature.width}}}};
}

MapLayer parse_layer(const Json& j, uint32_t n_layers) {
  MapLayer l;
  l.index = number(j, "index", 0, n_layers - 1);
  l.n_heads = number(j, "n_heads", 1, 4096);
  l.n_kv_heads = number(j, "n_kv_heads", 1, l.n_heads);
  l.head_dim = number(j, "head_dim", 8, 576);
  require(l.n_heads % l.n_kv_heads == 0 && l.head_dim % 8 == 0, ErrorKind::model_file,
          "{} heads, {} KV heads of {}", l.n_heads, l.n_kv_heads, l.head_dim);
  const auto type = find_dtype(j.at("k_type").get<std::string>());
  require(type && std::ranges::count(kCacheTypes, *type) > 0, ErrorKind::model_file, "k_type is {}",
          j.at("k_type").dump());
  l.k_type = *type;
  if (j.contains("n_rot")) l.n_rot = number(j, "n_rot", 0, l.head_dim);  // the first files had neither
  l.halves = j.value("halves", false);
  AttentionShape& s = l.plan.shape;
  s.n_heads = l.n_heads;
  s.scale = static_cast<float>(real(j, "scale"));
  require(j.at("passes").size() <= ATTENTION_PASSES, ErrorKind::model_file, "{} passes, allowed are up to {}",
          j.at("passes").size(), ATTENTION_PASSES);
  for (const Json& p : j.at("passes")) {
    s.passes.push_back(parse_pass(p));
    require(!s.passes.back().listed, ErrorKind::model_file, "a listed pass without a list");
  }
  s.soft_cap = static_cast<float>(real(j, "soft_cap"));
  s.slopes = reals<float>(j, "slopes", l.n_heads, l.n_heads);
  s.bias = reals<float>(j, "bias", l.n_heads, size_t{l.n_heads} << 16);
  s.bias_both_ways = j.at("bias_both_ways").get<bool>();
  s.sinks = reals<float>(j, "sinks", l.n_heads, l.n_heads);
  s.seed = number(j, "seed", 0, UINT32_MAX);
  l.plan.queries = parse_forms(j.at("queries"));
  l.plan.keys = parse_forms(j.at("keys"));
  l.plan.inv_freq = reals<double>(j, "inv_freq", 1, 4096);
  l.plan.magnitude = real(j, "magnitude");
  const Json& t = j.at("temperature");
  l.plan.temperature = {real(t, "base"), real(t, "slope"), number(t, "offset", 0, UINT32_MAX),
                        number(t, "width", 1, UINT32_MAX)};
  return l;
}

}  // namespace

std::string capture_json(const CaptureInfo& c) {
  Json layers = Json::array();
  for (const MapLayer& l : c.layers) layers.push_back(layer_json(l));
  const RopePlan& r = c.rope;
  return Json{{"model", c.model},
              {"n_layers", c.n_layers},
              {"n_tokens", c.n_tokens},
              {"first_query", c.first_query},
              {"end_query", c.end_query},
              {"page_tokens", c.page_tokens},
              {"layers", layers},
              {"rope",
               {{"method", std::string(name_of(r.method))},
                {"n_rot", r.n_rot},
                {"base", r.base},
                {"factor", r.factor},
                {"original_context", r.original_context},
                {"inv_freq", r.inv_freq},
                {"ramp", r.ramp},
                {"magnitude", r.magnitude},
                {"log_n", r.log_n},
                {"window", r.window},
                {"chunk", r.chunk},
                {"queries", forms_json(r.queries)},
                {"keys", forms_json(r.keys)},
                {"description", c.positions}}}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

CaptureInfo parse_capture_json(const std::string& text) {
  const Json j = Json::parse(text);
  CaptureInfo c;
  c.model = j.at("model").get<std::string>();
  c.n_layers = number(j, "n_layers", 1, 1 << 16);
  c.n_tokens = number(j, "n_tokens", 1, kMost);
  c.end_query = number(j, "end_query", 1, c.n_tokens);
  c.first_query = number(j, "first_query", 0, c.end_query - 1);
  c.page_tokens = number(j, "page_tokens", 16, 256);
  require(std::has_single_bit(c.page_tokens), ErrorKind::model_file, "page_tokens is {}", c.page_tokens);
  for (const Json& l : j.at("layers")) {
    c.layers.push_back(parse_layer(l, c.n_layers));
    require(c.layers.size() == 1 || c.layers[c.layers.size() - 2].index < c.layers.back().index,
            ErrorKind::model_file, "layers do not ascend");
  }
  require(!c.layers.empty(), ErrorKind::model_file, "there are no layers");
  const Json& r = j.at("rope");
  const auto method = find_rope_method(r.at("method").get<std::string>());
  require(method.has_value(), ErrorKind::model_file, "rope method {}", r.at("method").dump());
  c.rope.method = *method;
  c.rope.n_rot = number(r, "n_rot", 0, 8192);
  c.rope.base = real(r, "base");
  c.rope.factor = real(r, "factor");
  c.rope.original_context = real(r, "original_context");
  c.rope.inv_freq = reals<double>(r, "inv_freq", 1, 4096);
  c.rope.ramp = reals<double>(r, "ramp", 1, 4096);
  c.rope.magnitude = real(r, "magnitude");
  c.rope.log_n = real(r, "log_n");
  c.rope.window = number(r, "window", 0, UINT32_MAX);
  c.rope.chunk = number(r, "chunk", 0, UINT32_MAX);
  c.rope.queries = parse_forms(r.at("queries"));
  c.rope.keys = parse_forms(r.at("keys"));
  c.rope.description = c.positions = r.at("description").get<std::string>();
  return c;
}

}  // namespace spindle
