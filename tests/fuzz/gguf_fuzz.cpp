// libFuzzer on GGUF files: whatever the bytes, opening, loading and reading end in a model or in one error.
// An input is a file; or "SPLIT", then the shards, each behind its length as a u32.
#include <cstring>

#include "models/byte_reader.h"
#include "runtime/error.h"
#include "tests/bad_files.h"
#include "tests/fuzz/seeds.h"

using namespace spindle;
using namespace spindle::test;

namespace {

constexpr std::string_view kSplit = "SPLIT";

Shards shards_of(std::span<const std::byte> input) {
  if (input.size() < kSplit.size() || std::memcmp(input.data(), kSplit.data(), kSplit.size()) != 0)
    return {Bytes(input.begin(), input.end())};
  Shards shards;
  for (input = input.subspan(kSplit.size()); input.size() > 4 && shards.size() < 8;) {
    uint32_t length = 0;
    std::memcpy(&length, input.data(), 4);
    input = input.subspan(4);
    const auto shard = input.first(std::min<size_t>(length, input.size()));
    shards.emplace_back(shard.begin(), shard.end());
    input = input.subspan(shard.size());
  }
  if (shards.empty()) shards.emplace_back();
  return shards;
}

Bytes input_of(const Shards& shards) {
  if (shards.size() == 1) return shards[0];
  Bytes input;
  for (char c : kSplit) input.push_back(static_cast<std::byte>(c));
  for (const Bytes& shard : shards) {
    GgufWriter::put(input, static_cast<uint32_t>(shard.size()));
    input.insert(input.end(), shard.begin(), shard.end());
  }
  return input;
}

// As an error's line must be.
void check_message(const std::string& message) {
  for (char c : message)
    if (static_cast<unsigned char>(c) < 0x20) __builtin_trap();
  if (message.empty()) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  write_seed("model", tiny_model().finish());
  write_seed("vocabulary", tiny_vocabulary().finish());
  write_seed("split", input_of(finish(tiny_split())));
  int n = 0;
  for (const BadFile& bad : bad_files())
    if (const Bytes input = input_of(bad.shards); input.size() < 20'000)
      write_seed(fmt::format("{}-{}", bad.id, n++), input);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const Gguf file = Gguf::parse(as_files(shards_of(std::as_bytes(std::span(data, size)))));
    for (const GgufEntry& entry : file.metadata())
      if (file.find_entry(entry.key) != &entry) __builtin_trap();
    for (const GgufTensor& tensor : file.tensors()) {
      if (file.find_tensor(tensor.name) != &tensor) __builtin_trap();
      Bytes bytes(tensor.bytes);  // inside the file, which is small
      file.read_tensor(tensor, bytes);
    }
    load_without_device(file);
  } catch (const Error& e) {
    check_message(e.what());
  }
  return 0;
}
