// Split models, as llama.cpp's gguf-split writes them: which files belong together, and one Gguf out of them.
#include <algorithm>
#include <charconv>
#include <utility>

#include "models/gguf.h"
#include "models/utf8.h"
#include "runtime/error.h"

namespace spindle {
namespace {

constexpr uint32_t kMostShards = 65535;  // split.count is a u16

// PREFIX-00002-of-00003.gguf
struct ShardName {
  std::string prefix;
  uint32_t number = 0;  // from 1
  uint32_t count = 0;
  static std::optional<ShardName> find(const std::string& path);
  std::string sibling(uint32_t n) const { return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, n, count); }
};

std::optional<ShardName> ShardName::find(const std::string& path) {
  constexpr size_t kSuffix = std::string_view("-00001-of-00003.gguf").size();
  if (path.size() < kSuffix) return std::nullopt;
  ShardName name{path.substr(0, path.size() - kSuffix), 0, 0};
  const std::string suffix = path.substr(path.size() - kSuffix);
  std::from_chars(suffix.data() + 1, suffix.data() + 6, name.number);
  std::from_chars(suffix.data() + 10, suffix.data() + 15, name.count);
  if (name.number < 1 || name.number > name.count || name.sibling(name.number) != path) return std::nullopt;
  return name;
}

// Names the shard in front of whatever goes wrong with it.
template <class Work>
auto in_shard(size_t index, size_t n, Work work) {
  try {
    return work();
  } catch (const Error& e) {
    fail(e.kind(), "shard {}/{}: {}", index + 1, n, e.what());
  }
}

// 1 for a file that is no shard.
uint32_t shard_count(const Gguf& file) {
  const uint64_t count = file.get_or<uint64_t>("split.count", 1);
  if (count < 1 || count > kMostShards)
    file.fail_value("split.count", fmt::format("found {}, allowed 1 to {}", count, kMostShards));
  return static_cast<uint32_t>(count);
}

}  // namespace

void Gguf::check_shard(size_t index, size_t n) const {
  if (const auto count = get<uint64_t>("split.count"); count != n)
    fail_value("split.count", fmt::format("found {}, expected {}", count, n));
  if (const auto number = get<uint64_t>("split.no"); number != index)
    fail_value("split.no",
               fmt::format("found {}, which is shard {}, expected {}", number, number + 1, index));
}

Gguf Gguf::open(const std::string& path) {
  Gguf given = read(InputFile::open(path));
  const uint32_t count = shard_count(given);
  if (count == 1) return given;
  const std::optional<ShardName> name = ShardName::find(path);
  if (!name || name->count != count)
    given.fail_value("split.count",
                     fmt::format("found {}: the name must end in -00001-of-{:05}.gguf, that the others are "
                                 "found beside it",
                                 count, count));
  std::vector<Gguf> shards;
  for (uint32_t i = 0; i < count; i++)
    shards.push_back(in_shard(i, count, [&] {
      Gguf shard = i + 1 == name->number ? std::move(given) : read(InputFile::open(name->sibling(i + 1)));
      shard.check_shard(i, count);
      return shard;
    }));
  return join(std::move(shards));
}

Gguf Gguf::parse(std::vector<std::byte> bytes, std::string name) {
  std::vector<InputFile> one;
  one.push_back(InputFile::from_memory(std::move(bytes), std::move(name)));
  return parse(std::move(one));
}

Gguf Gguf::parse(std::vector<InputFile> files) {
  const size_t n = files.size();
  std::vector<Gguf> shards;
  for (size_t i = 0; i < n; i++) {
    if (n == 1) {
      Gguf file = read(std::move(files[i]));
      if (const uint32_t count = shard_count(file); count != 1)
        file.fail_value("split.count", fmt::format("found {}, but there is one file only", count));
      return file;
    }
    shards.push_back(in_shard(i, n, [&] {
      Gguf shard = read(std::move(files[i]));
      shard.check_shard(i, n);
      return shard;
    }));
  }
  return join(std::move(shards));
}

Gguf Gguf::join(std::vector<Gguf> shards) {
  Gguf all = std::move(shards.front());
  const size_t n = shards.size();
  for (size_t i = 1; i < n; i++) {
    all.sources_.push_back(std::move(shards[i].sources_.front()));
    for (GgufTensor& tensor : shards[i].tensors_) {
      tensor.shard = static_cast<uint32_t>(i);
      all.tensors_.push_back(std::move(tensor));
    }
  }
  all.tensor_index_.clear();  // of views into names that have moved
  all.tensor_index_.reserve(all.tensors_.size());
  for (size_t i = 0; i < all.tensors_.size(); i++) {
    const GgufTensor& tensor = all.tensors_[i];
    const auto [at, is_new] = all.tensor_index_.emplace(tensor.name, i);
    require(is_new, ErrorKind::model_file,
            "shard {}/{}: {}: tensor '{}' at byte {}: duplicate, shard {} has it", tensor.shard + 1, n,
            printable(all.file_of(tensor), 4096), printable(tensor.name), tensor.info_offset,
            all.tensors_[at->second].shard + 1);
  }
  const auto expected = all.find<uint64_t>("split.tensors.count");
  if (expected && *expected != all.tensors_.size())
    in_shard(0, n, [&] {
      all.fail_value("split.tensors.count",
                     fmt::format("found {}, but the {} shards have {}", *expected, n, all.tensors_.size()));
    });
  return all;
}

}  // namespace spindle
