// `spindle inspect`: what a file holds, whether it can run and what it would need; also when it cannot run.
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "app/command.h"
#include "models/memory_plan.h"
#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {

using Json = nlohmann::ordered_json;

struct Flags {
  DeviceFlags device;
  ModelFlags model;
  bool all = false, json = false;
};

template <class T>
constexpr bool is_vector = false;
template <class T>
constexpr bool is_vector<std::vector<T>> = true;

constexpr size_t kFirstValues = 6, kLine = 100;

template <class T>
std::string text_of(const T& value, bool all) {
  if constexpr (std::is_same_v<T, std::string>) {
    std::string text = printable(value, all ? SIZE_MAX : kLine);
    return all || value.size() <= kLine ? text : fmt::format("{} ({} bytes)", text, value.size());
  } else {
    return fmt::format("{}", value);
  }
}

std::string text_of_entry(const GgufValue& entry, bool all) {
  return std::visit(
      [&](const auto& value) -> std::string {
        using T = std::decay_t<decltype(value)>;
        if constexpr (is_vector<T>) {
          std::string text;
          const size_t n = all ? value.size() : std::min(value.size(), kFirstValues);
          for (size_t i = 0; i < n; i++)
            text += (i ? ", " : "") + text_of(static_cast<typename T::value_type>(value[i]), all);
          return fmt::format("[{}{}] {} values", text, n < value.size() ? ", ..." : "", value.size());
        } else {
          return text_of(value, all);
        }
      },
      entry);
}

Json json_of_entry(const GgufValue& entry, bool all) {
  Json j = {{"type", type_name(entry)}};
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (is_vector<T>) {
          const size_t n = all ? value.size() : std::min(value.size(), kFirstValues);
          j["count"] = value.size();
          Json& list = j[n < value.size() ? "first" : "value"] = Json::array();
          for (size_t i = 0; i < n; i++) list.push_back(static_cast<typename T::value_type>(value[i]));
        } else {
          j["value"] = value;
        }
      },
      entry);
  return j;
}

std::span<const uint64_t> shape_of(const GgufTensor& t) { return {t.dims.data(), t.n_dims}; }
std::string_view type_of(const GgufTensor& t) { return find_gguf_tensor_type(t.type)->name; }

// Tensors that differ in nothing but the number of their layer.
struct Group {
  std::string before, after;     // of the number
  std::vector<uint32_t> layers;  // empty: a tensor that belongs to no layer
  const GgufTensor* first;
  uint64_t bytes = 0;
  std::string name() const {
    std::string numbers;
    for (size_t i = 0; i < layers.size();) {
      size_t end = i + 1;
      while (end < layers.size() && layers[end] == layers[end - 1] + 1) end++;
      numbers += fmt::format("{}{}", i ? "," : "", layers[i]);
      if (end - i > 1) numbers += fmt::format("-{}", layers[end - 1]);
      i = end;
    }
    return before + numbers + after;
  }
};

std::vector<Group> groups_of(const Gguf& file, bool each) {
  std::vector<Group> groups;
  std::map<std::string, size_t> index;
  for (const GgufTensor& t : file.tensors()) {
    const size_t end = t.name.starts_with("blk.") ? t.name.find_first_not_of("0123456789", 4) : 0;
    const bool in_layer = !each && end != std::string::npos && end > 4 && end < 13 && t.name[end] == '.';
    Group g{t.name, "", {}, &t, 0};
    if (in_layer) {
      g.before = "blk.";
      g.after = t.name.substr(end);
      g.layers = {static_cast<uint32_t>(std::stoul(t.name.substr(4, end - 4)))};
    }
    const std::string key =
        in_layer ? fmt::format("{} {} {}", g.after, t.type, fmt::join(shape_of(t), ",")) : t.name;
    const auto [at, is_new] = index.emplace(key, groups.size());
    if (is_new) groups.push_back(std::move(g));
    else groups[at->second].layers.push_back(g.layers.at(0));
    groups[at->second].bytes += t.bytes;
  }
  for (Group& g : groups) std::ranges::sort(g.layers);
  return groups;
}

struct Totals {
  double parameters = 0;  // hostile shapes may exceed 64 bits
  double bytes = 0;
  size_t tensors = 0;
};

std::map<std::string_view, Totals> totals_of(const Gguf& file) {
  std::map<std::string_view, Totals> by_type;
  for (const GgufTensor& t : file.tensors())
    for (std::string_view name : {type_of(t), std::string_view()}) {
      by_type[name].parameters += static_cast<double>(t.elements());
      by_type[name].bytes += static_cast<double>(t.bytes);
      by_type[name].tensors++;
    }
  return by_type;
}

double bits(const Totals& t) { return t.parameters > 0 ? 8 * t.bytes / t.parameters : 0; }

// "parses", or why it does not.
std::string describe_template(const Tokenizer& tokenizer, const std::map<std::string, std::string>& templates,
                              const std::string& file) {
  try {
    for (const auto& [name, source] : templates) const ChatTemplate parsed(tokenizer, templates, name, file);
    return "parses";
  } catch (const Error& e) {
    return e.what();
  }
}

Json describe_tokenizer(const Gguf& file) {
  Json j;
  if (!file.has("tokenizer.ggml.model")) return j;
  try {
    j["kind"] = file.get<std::string>("tokenizer.ggml.model");
    if (file.has("tokenizer.ggml.pre")) j["pre"] = file.get<std::string>("tokenizer.ggml.pre");
    if (const auto merges = file.find<std::vector<std::string>>("tokenizer.ggml.merges"))
      j["merges"] = merges->size();
    if (const auto chat = file.find<std::string>("tokenizer.chat_template"))
      j["chat_template_bytes"] = chat->size();
    const Tokenizer tokenizer(file);
    const Vocabulary& v = tokenizer.vocabulary();
    j["tokens"] = v.n_tokens();
    for (const auto& [name, id] : {std::pair{"bos", v.bos}, {"eos", v.eos}, {"unknown", v.unknown}})
      if (id) j[name] = *id;
    j["end_ids"] = v.end_ids;
    j["add_bos"] = v.add_bos;
    j["supported"] = true;
    j["warnings"] = tokenizer.warnings();
    const auto templates = read_chat_templates(file);
    if (!templates.empty()) j["chat_template"] = describe_template(tokenizer, templates, file.file());
  } catch (const Error& e) {
    j["supported"] = false;
    j["why"] = e.what();
  }
  return j;
}

// Why `spindle run` would refuse the file, however much memory there is; empty when it would not.
std::string why_not(const Json& tokenizer, const Json& model) {
  if (!model["supported"].get<bool>()) return model["why"];
  if (tokenizer.is_null()) return "the file has no tokenizer";
  if (!tokenizer["supported"].get<bool>()) return tokenizer["why"];
  if (tokenizer["tokens"].get<uint64_t>() > model["vocabulary"].get<uint64_t>())
    return fmt::format("the tokenizer has {} tokens, the embedding {}", tokenizer["tokens"].get<uint64_t>(),
                       model["vocabulary"].get<uint64_t>());
  return "";
}

// Whether the architecture is known and sound, and the bytes that it would need.
Json describe_model(const Gguf& file, const Flags& flags, const Target& target) {
  Json j;
  try {
    j["name"] = file.get_or<std::string>("general.architecture", "");
    const MemoryPlan plan(target.caps, file);
    const Config& c = plan.config();
    j["supported"] = true;
    j["layers"] = c.n_layers;
    j["embedding"] = c.dim;
    j["heads"] = c.max_heads();
    j["kv_heads"] = c.max_kv_heads();
    j["head_size"] = c.head_dim;
    j["vocabulary"] = c.vocab_size;
    j["context"] = c.context_length;
    SessionOptions o = flags.model.session();
    if (o.context == 0) o.context = c.context_length;
    const MemoryNeed need = plan.need(o);
    j["memory"] = {{"context", o.context},
                   {"cache_type_k", info(o.k_type).name},
                   {"cache_type_v", info(o.v_type).name},
                   {"weights", need.weights},
                   {"cache", need.cache},
                   {"activations", need.activations},
                   {"scratch", need.scratch},
                   {"state", need.state},
                   {"total", need.total()},
                   {"device", target.name},
                   {"free", target.free_bytes}};
  } catch (const Error& e) {
    j["supported"] = false;
    j["why"] = e.what();
  }
  return j;
}

void print_json(const Gguf& file, const Flags& flags, const Json& tokenizer, const Json& model) {
  Json j = {{"file", file.file()},
            {"runs", why_not(tokenizer, model).empty()},
            {"version", file.version()},
            {"bytes", file.size_bytes()}};
  j["shards"] = file.n_shards();
  j["metadata"] = Json::object();
  for (const GgufEntry& e : file.metadata()) j["metadata"][e.key] = json_of_entry(e.value, flags.all);
  j["tensors"] = Json::array();
  for (const GgufTensor& t : file.tensors())
    j["tensors"].push_back({{"name", t.name},
                            {"type", type_of(t)},
                            {"shape", shape_of(t)},
                            {"bytes", t.bytes},
                            {"offset", t.offset},
                            {"shard", t.shard + 1}});
  j["types"] = Json::object();
  for (const auto& [type, totals] : totals_of(file))
    if (!type.empty())
      j["types"][std::string(type)] = {{"tensors", totals.tensors}, {"parameters", totals.parameters}};
  const Totals all = totals_of(file)[""];
  j["parameters"] = all.parameters;
  j["tensor_bytes"] = all.bytes;
  j["bits_per_weight"] = bits(all);
  j["tokenizer"] = tokenizer;
  j["model"] = model;
  fmt::print("{}\n", j.dump(2, ' ', false, Json::error_handler_t::replace));
}

std::string lines_of(const Json& j, std::string_view skip) {
  std::string text;
  for (const auto& [key, value] : j.items()) {
    if (key == skip) continue;
    const std::string shown = value.is_string() ? printable(value.get<std::string>(), 4096) : value.dump();
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", key, shown);
  }
  return text;
}

void print_text(const Gguf& file, const Flags& flags, const Json& tokenizer, const Json& model) {
  const std::string why = why_not(tokenizer, model);
  fmt::print("runs        {}\n", why.empty() ? "yes" : fmt::format("no: {}", printable(why, 4096)));
  fmt::print("file        {}: GGUF version {}, {}", printable(file.file(), 4096), file.version(),
             human_bytes(file.size_bytes()));
  fmt::print("{}\n", file.n_shards() > 1 ? fmt::format(", {} shards", file.n_shards()) : "");
  fmt::print("metadata    {} keys\n", file.metadata().size());
  for (const GgufEntry& e : file.metadata())
    fmt::print("  {:<44} {:<8} {}\n", printable(e.key), type_name(e.value),
               text_of_entry(e.value, flags.all));
  fmt::print("tensors     {}\n", file.tensors().size());
  for (const Group& g : groups_of(file, flags.all)) {
    const size_t n = std::max<size_t>(g.layers.size(), 1);
    fmt::print("  {:<44} {:<8} [{}]  {}{}\n", printable(g.name()), type_of(*g.first),
               fmt::join(shape_of(*g.first), ", "), human_bytes(g.bytes),
               n > 1 ? fmt::format(" in {}", n) : "");
  }
  const auto by_type = totals_of(file);
  for (const auto& [type, t] : by_type)
    if (!type.empty())
      fmt::print("  {:<9} {} tensors, {:.0f} parameters, {}\n", type, t.tensors, t.parameters,
                 human_bytes(static_cast<uint64_t>(std::min(t.bytes, 1.8e19))));
  if (by_type.contains(""))
    fmt::print("parameters  {:.0f}, {:.2f} bits per weight\n", by_type.at("").parameters,
               bits(by_type.at("")));
  fmt::print("tokenizer   {}\n", tokenizer.is_null() ? "none" : lines_of(tokenizer, ""));
  fmt::print("model       {}\n", lines_of(model, "memory"));
  if (!model.contains("memory")) return;
  const Json& m = model["memory"];
  const auto bytes = [&](const char* key) { return human_bytes(m[key].get<uint64_t>()); };
  fmt::print(
      "memory      {} for {} positions, keys {}, values {}: weights {}, cache {}, activations {}, "
      "scratch {}, state {}\n",
      bytes("total"), m["context"].get<uint32_t>(), m["cache_type_k"].get<std::string>(),
      m["cache_type_v"].get<std::string>(), bytes("weights"), bytes("cache"), bytes("activations"),
      bytes("scratch"), bytes("state"));
  fmt::print("            {} free on {}\n", m["free"] == 0 ? "an unknown amount" : bytes("free"),
             m["device"].get<std::string>());
}

void run(const Flags& flags) {
  const Gguf file = Gguf::open(flags.model.file());
  const Target target(flags.device);
  const Json tokenizer = describe_tokenizer(file), model = describe_model(file, flags, target);
  (flags.json ? print_json : print_text)(file, flags, tokenizer, model);
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("inspect", "show what a model file holds and needs");
  command->add_option("FILE", flags->model.path, "GGUF file, or any shard of a split one");
  command->add_flag("--all", flags->all, "every value of an array, every tensor of a layer");
  command->add_flag("--json", flags->json, "as JSON");
  flags->model.add(*command);
  flags->device.add(*command);
  command->callback([flags] { run(*flags); });
}

}  // namespace spindle
