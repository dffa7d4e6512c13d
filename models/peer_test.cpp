// Files that another program quantised: they run, and their greedy text is that program's own.
//   SPINDLE_PEER_QUANTIZE=llama-quantize SPINDLE_PEER_COMPLETE=llama-completion build/spindle_tests
//   -tc="*peer*"
// The variables hold commands (of llama.cpp or alike); files are made in the folder for temporary ones.
#include <doctest/doctest.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "models/session.h"
#include "runtime/error.h"
#include "tests/device.h"
#include "tests/gguf_writer.h"

using namespace spindle;
using namespace spindle::test;

namespace {

constexpr const char* kPrompt = "Once upon a time";
constexpr size_t kTokens = 24, kLeast = 20;
// How far apart two tokens may be that the programs choose between: the peer rounds activations to 8 bits.
constexpr double kMargin = 0.2;

// A matrix [n, k] of f32 within [to_n, to_k], zeros around it.
struct Padded {
  uint64_t n, k, to_n, to_k;
  std::vector<float> of(const std::vector<double>& from, double scale = 1) const {
    std::vector<float> to(to_n * to_k);
    for (uint64_t i = 0; i < n; i++)
      for (uint64_t j = 0; j < k; j++) to[i * to_k + j] = static_cast<float>(from[i * k + j] * scale);
    return to;
  }
};

// The model that ships computes the same with zeros beside its weights: 256 instead of 224 channels and 512
// instead of 448 in the feed-forward layers, and norms scaled. So every format's blocks fit.
std::vector<std::byte> padded_model() {
  const Gguf file = Gguf::open(SPINDLE_SOURCE_DIR "/models/pretrained/" SPINDLE_DEFAULT_MODEL);
  constexpr uint64_t dim = 224, to_dim = 256, ffn = 448, to_ffn = 512;
  REQUIRE(file.get<uint32_t>("llama.embedding_length") == dim);
  REQUIRE(file.get<uint32_t>("llama.feed_forward_length") == ffn);
  GgufWriter w;
  for (const GgufEntry& e : file.metadata()) {
    if (e.key == "llama.embedding_length") w.set(e.key, uint32_t{to_dim});
    else if (e.key == "llama.feed_forward_length") w.set(e.key, uint32_t{to_ffn});
    else if (e.key == "llama.attention.layer_norm_rms_epsilon")
      w.set(e.key, file.get<float>(e.key) * static_cast<float>(dim) / to_dim);
    else if (e.key != "general.file_type") std::visit([&](const auto& v) { w.set(e.key, v); }, e.value);
  }
  const auto padded = [](uint64_t size) { return size == dim ? to_dim : size == ffn ? to_ffn : size; };
  for (const GgufTensor& t : file.tensors()) {
    std::vector<std::byte> bytes(t.bytes);
    file.read_tensor(t, bytes);
    const std::vector<double> from = reference::decode(*find_dtype_by_gguf(t.type), bytes);
    const uint64_t k = t.dims[0], n = t.dims[1];
    const bool is_norm = t.n_dims == 1;
    const Padded shape{n, k, padded(n), padded(k)};
    std::vector<uint64_t> dims{shape.to_k};
    if (!is_norm) dims.push_back(shape.to_n);
    w.add_tensor(t.name, dims, shape.of(from, is_norm ? std::sqrt(static_cast<double>(dim) / to_dim) : 1));
  }
  return w.finish();
}

struct Greedy {
  std::string text;
  std::vector<size_t> ends;     // of the text, after each token
  std::vector<double> margins;  // of each token's logit over the next best
};
Greedy continue_greedily(const Model& model, size_t n_tokens = kTokens) {
  Session session(model, {.context = 256, .k_type = DType::f32, .v_type = DType::f32});
  const std::vector<int> ids = model.tokenizer().encode(kPrompt);
  const int slot = session.open({.temperature = 0});
  std::vector<float> logits;
  session.prefill(slot, ids, {.sample = false, .on_logits = [&](uint32_t, std::span<const float> row) {
                                logits.assign(row.begin(), row.end());
                              }});
  Detokenizer detokenizer(model.tokenizer());
  detokenizer.skip(ids);
  Greedy g;
  while (g.ends.size() < n_tokens) {
    const auto best = std::ranges::max_element(logits);
    const float most = *best;
    const auto id = static_cast<int>(best - logits.begin());
    *best = -HUGE_VALF;
    g.margins.push_back(most - *std::ranges::max_element(logits));
    g.text += detokenizer.push(id);
    g.ends.push_back(g.text.size());
    logits = session.decode(slot, id);
  }
  return g;
}

std::string output_of(const std::string& command, int* status) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, n);
  *status = pclose(pipe);
  return text;
}

// The peer's greedy text.
std::string peer_text(const char* complete, const std::string& file, size_t n_tokens, const std::string& log,
                      int* status) {
  return output_of(
      fmt::format("{} -m {} -p '{}' -n {} --temp 0 -no-cnv --no-display-prompt --device none -t 2 -c 256 "
                  "-ctk f32 -ctv f32 -fa off --no-warmup 2>{} </dev/null",
                  complete, file, kPrompt, n_tokens, log),
      status);
}

// Tokens whose text is the same.
size_t same_tokens(const Greedy& ours, const std::string& theirs) {
  size_t same = 0;
  while (same < ours.ends.size() && theirs.substr(0, ours.ends[same]) == ours.text.substr(0, ours.ends[same]))
    same++;
  return same;
}

// A folder that goes with its files.
struct Folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / fmt::format("spindle-peer-{}", ::getpid());
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_CASE("files that a peer quantised run, and their greedy text is the peer's") {
  const char *quantize = std::getenv("SPINDLE_PEER_QUANTIZE"),
             *complete = std::getenv("SPINDLE_PEER_COMPLETE");
  if (!quantize || !complete) {
    fmt::print(
        stderr,
        "SKIPPED: a peer's files: name llama-quantize in SPINDLE_PEER_QUANTIZE and llama-completion in "
        "SPINDLE_PEER_COMPLETE\n");
    return;
  }
  const Folder folder;
  const std::string padded = folder.path / "padded-f32.gguf",
                    shipped = SPINDLE_SOURCE_DIR "/models/pretrained/" SPINDLE_DEFAULT_MODEL;
  const std::vector<std::byte> bytes = padded_model();
  std::ofstream(padded, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  // Padding changes nothing.
  const Greedy original = continue_greedily(Model(device(), shipped));
  CHECK(continue_greedily(Model(device(), padded)).text == original.text);

  struct Case {
    std::string type, options;  // of the quantiser
    bool shipped = false;       // the shipped file itself, where formats fall back to others
  };
  std::vector<Case> cases;
  for (const char* type : {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K",
                           "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"})
    cases.push_back({type, "--pure"});
  for (const char* type :
       {"Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "IQ4_XS", "MXFP4_MOE"})
    cases.push_back({type, ""});
  cases.push_back({"Q8_0", "--tensor-type attn=mxfp4 --tensor-type ffn=mxfp4"});
  for (const char* type : {"Q4_0", "Q8_0", "Q4_K_M", "Q6_K", "IQ4_NL"}) cases.push_back({type, "", true});
  const std::string out = folder.path / "quantised.gguf", log = folder.path / "log";
  for (const Case& c : cases) {
    const std::string what =
        fmt::format("{} {}{}", c.type, c.options, c.shipped ? " of the shipped file" : "");
    CAPTURE(what);
    int status = 0;
    output_of(fmt::format("{} {} {} {} {} 2 >{} 2>&1", quantize, c.options, c.shipped ? shipped : padded, out,
                          c.type, log),
              &status);
    CHECK(status == 0);
    if (status != 0) continue;
    const Model model(device(), out);
    const Greedy ours = continue_greedily(model);
    const std::string theirs = peer_text(complete, out, kTokens, log, &status);
    CHECK(status == 0);
    const size_t same = same_tokens(ours, theirs);
    const double margin = same < kTokens ? ours.margins[same] : 0;
    std::string types;
    const Gguf made = Gguf::open(out);
    for (const GgufTensor& t : made.tensors())
      if (const std::string_view name = info(*find_dtype_by_gguf(t.type)).name;
          types.find(name) == std::string::npos)
        types += fmt::format(" {}", name);
    fmt::print("  peer: {:<46} {:>2} of {} tokens the same{}; tensors:{}\n", what, same, kTokens,
               same < kTokens ? fmt::format(", then a margin of {:.3f}", margin) : "", types);
    CHECK_MESSAGE((same >= kLeast || margin < kMargin), what, "\n ours:   ", ours.text,
                  "\n theirs: ", theirs);
  }

  // Formats that are not supported: named, whatever else the file is.
  for (const char* type : {"TQ1_0", "TQ2_0", "IQ3_S", "IQ3_XXS", "IQ1_S", "IQ2_XXS", "Q1_0", "Q2_0"}) {
    int status = 0;
    output_of(fmt::format("{} {} {} {} 2 >{} 2>&1", quantize, padded, out, type, log), &status);
    if (status != 0) continue;  // wants data that we have not
    CAPTURE(type);
    CHECK_THROWS_WITH_AS(Model(device(), out), doctest::Contains("is not supported; supported are: f32, f16"),
                         Error);
  }
}

TEST_CASE("files that ship continue a text as a peer continues it") {
  const char* complete = std::getenv("SPINDLE_PEER_COMPLETE");
  if (!complete) {
    fmt::print(stderr, "SKIPPED: a peer's text: name llama-completion in SPINDLE_PEER_COMPLETE\n");
    return;
  }
  constexpr size_t n_tokens = 100;
  const Folder folder;
  DeviceOptions options = DeviceOptions::from_environment();
  options.precision_f32 = true;
  Device f32(options);
  for (const auto& entry : std::filesystem::directory_iterator(SPINDLE_SOURCE_DIR "/models/pretrained")) {
    const std::string file = entry.path();
    if (!file.ends_with(".gguf")) continue;
    if (Gguf::open(file).get<std::string>("general.architecture") != "llama") continue;
    CAPTURE(file);
    int status = 0;
    const std::string theirs = peer_text(complete, file, n_tokens, folder.path / "log", &status);
    CHECK(status == 0);
    const Greedy ours = continue_greedily(Model(f32, file), n_tokens);
    const size_t same = same_tokens(ours, theirs);
    const double margin = same < n_tokens ? ours.margins[same] : 0;
    fmt::print("  peer: {}: {} of {} tokens the same{}\n", entry.path().filename().string(), same, n_tokens,
               same < n_tokens ? fmt::format(", then a margin of {:.3f}", margin) : "");
    CHECK_MESSAGE((same == n_tokens || margin < kMargin), "\n ours:   ", ours.text, "\n theirs: ", theirs);
  }
}
