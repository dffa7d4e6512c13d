// Captures: writing what a source has, and a source made from a file. The format is in map_source.h.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "models/byte_reader.h"
#include "runtime/error.h"
#include "viewer/capture_info.h"
#include "viewer/map_source.h"

namespace spindle {
namespace {

constexpr char kMagic[8] = {'S', 'P', 'N', 'D', 'L', 'M', 'A', 'P'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kSectionBytes = 32 << 20;  // about, of keys and queries

constexpr uint32_t tag(const char (&name)[5]) {
  return static_cast<uint32_t>(name[0]) | static_cast<uint32_t>(name[1]) << 8 |
         static_cast<uint32_t>(name[2]) << 16 | static_cast<uint32_t>(name[3]) << 24;
}
constexpr uint32_t kInfo = tag("INFO"), kTokens = tag("TOKN"), kKeys = tag("KEYS"), kSecondKeys = tag("KEY2"),
                   kQueries = tag("QURY");

// Every step is a bijection of the state, so that a single changed word always changes the result.
uint64_t hash(std::span<const std::byte> bytes, uint64_t h) {
  for (size_t at = 0; at < bytes.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, std::min<size_t>(8, bytes.size() - at));
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
  }
  return h;
}

uint64_t section_hash(uint32_t name, uint32_t layer, std::span<const std::byte> bytes) {
  const uint64_t head[2] = {uint64_t{layer} << 32 | name, bytes.size()};
  return hash(bytes, hash(std::as_bytes(std::span(head)), 0x5350494e444c45u));
}

class Writer {
 public:
  explicit Writer(const std::string& path)
      : path_(path), temporary_(fmt::format("{}.tmp-{}", path, ::getpid())) {
    file_ = std::fopen(temporary_.c_str(), "wb");
    require(file_ != nullptr, "{}: {}", path_, std::strerror(errno));
  }
  ~Writer() {
    if (file_) std::fclose(file_);
    if (!finished_) std::remove(temporary_.c_str());
  }
  Writer(const Writer&) = delete;

  void put(std::span<const std::byte> bytes) {
    require(std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size(), "{}: {}", path_,
            std::strerror(errno));
  }
  template <class T>
  void put(const T& value) {
    put(std::as_bytes(std::span(&value, 1)));
  }
  void section(uint32_t name, uint32_t layer, std::span<const std::byte> bytes) {
    put(name), put(layer), put(uint64_t{bytes.size()}), put(bytes), put(section_hash(name, layer, bytes));
    n_sections_++;
  }
  void finish() {
    require(std::fseek(file_, sizeof kMagic + 4, SEEK_SET) == 0, "{}: {}", path_, std::strerror(errno));
    put(n_sections_);
    const bool written = std::fflush(file_) == 0 && ::fsync(::fileno(file_)) == 0;
    require(written && std::fclose(std::exchange(file_, nullptr)) == 0 &&
                std::rename(temporary_.c_str(), path_.c_str()) == 0,
            "{}: {}", path_, std::strerror(errno));
    finished_ = true;
  }

 private:
  std::string path_, temporary_;
  std::FILE* file_ = nullptr;
  uint32_t n_sections_ = 0;
  bool finished_ = false;
};

// Two words, then room for more.
struct Block {
  std::vector<std::byte> bytes;
  Block(uint32_t first, uint32_t n, uint64_t more) : bytes(8 + more) {
    std::memcpy(bytes.data(), &first, 4);
    std::memcpy(bytes.data() + 4, &n, 4);
  }
  std::span<std::byte> at(uint64_t offset, uint64_t n) { return std::span(bytes).subspan(8 + offset, n); }
};

void write_keys(Writer& out, Stream& stream, const MapSource& s, uint32_t layer, uint32_t form) {
  const uint32_t tokens = s.cache.page_tokens, n = ceil_div(s.n_keys, tokens);
  const auto page_bytes = s.cache.k_page_bytes();
  const auto many = static_cast<uint32_t>(std::max<uint64_t>(1, kSectionBytes / page_bytes));
  const Buffer staging(stream.device(), page_bytes * std::min(many, n), Memory::shared, "pages of a capture");
  std::vector<uint32_t> table(s.pages.elements());
  stream.download(std::as_writable_bytes(std::span(table)), s.pages);
  const auto words = static_cast<uint32_t>(page_bytes / 4);
  for (uint32_t first = 0; first < n; first += many) {
    const uint32_t count = std::min(many, n - first);
    for (uint32_t i = 0; i < count; i++) {
      const uint32_t position = (first + i) * tokens, page = table[size_t{s.slot} * s.pages.cols + first + i];
      for (const CacheSegment& segment : s.segments) {
        if (position < segment.first_position || position - segment.first_position >= segment.n_positions)
          continue;
        Tensor from = form == 0 ? segment.k : segment.k2;
        from.rows = 1;
        from.offset_bytes += page * page_bytes;
        stream.copy(Tensor(staging, DType::u32, 1, words, i * page_bytes), from);
      }
    }
    stream.run();
    Block block(first, count, count * page_bytes);
    std::memcpy(block.at(0, count * page_bytes).data(), staging.mapped(), count * page_bytes);
    out.section(form == 0 ? kKeys : kSecondKeys, layer, block.bytes);
  }
}

void write_queries(Writer& out, Stream& stream, const MapSource& s, uint32_t layer) {
  const uint32_t versions = s.shape.n_queries();
  const uint64_t row_bytes = uint64_t{4} * s.shape.n_heads * s.cache.head_dim,
                 lse_bytes = uint64_t{4} * s.shape.n_heads;
  for (const MapSource::Part& part : s.parts) {
    const uint32_t from = std::max(part.first_position, s.first_query),
                   to = std::min(part.first_position + part.n_positions(), s.end_query);
    if (from >= to) continue;
    const uint32_t n = to - from, row = from - part.first_position;
    Block block(from, n, n * (versions * row_bytes + lse_bytes));
    for (uint32_t version = 0; version < versions; version++) {
      Tensor rows = part.q;
      rows.rows = n;
      rows.offset_bytes += (uint64_t{version} * part.n_positions() + row) * row_bytes;
      stream.download(block.at(version * n * row_bytes, n * row_bytes), rows);
    }
    Tensor lse = part.lse;
    lse.rows = n;
    lse.offset_bytes += row * lse_bytes;
    stream.download(block.at(versions * n * row_bytes, n * lse_bytes), lse);
    out.section(kQueries, layer, block.bytes);
  }
}

struct Section {
  uint32_t name = 0, layer = 0;
  uint64_t at = 0;  // in the file
  std::vector<std::byte> bytes;
};

Section read_section(ByteReader& in) {
  Section s;
  in.set_context("section");
  s.at = in.position();
  s.name = in.read<uint32_t>("tag");
  s.layer = in.read<uint32_t>("layer");
  const uint64_t at = in.position();
  const auto n = in.read<uint64_t>("length");
  in.check_count(n, 1, "length", at);
  s.bytes = in.array<std::byte>("contents", n);
  const auto found = in.read<uint64_t>("hash");
  if (found != section_hash(s.name, s.layer, s.bytes))
    in.fail("hash", in.position() - 8, "does not fit the contents: the file is damaged");
  return s;
}

class FileSource : public AttentionMaps::Source {
 public:
  FileSource(Device& a_device, const std::string& path)
      : Source(a_device), file_(InputFile::open(path)), in_(file_) {
    char magic[8];
    in_.read_bytes(std::as_writable_bytes(std::span(magic)), "magic");
    if (std::memcmp(magic, kMagic, 8) != 0) in_.fail("magic", 0, "this is not a capture of attention maps");
    const auto version = in_.read<uint32_t>("version");
    if (version != kVersion)
      in_.fail("version", 8, fmt::format("{}, this program reads {}", version, kVersion));
    const auto n = in_.read<uint32_t>("number of sections");
    for (uint32_t i = 0; i < n; i++) {
      const Section s = read_section(in_);
      if (i == 0) require_is(s, s.name == kInfo, "the first section is not INFO");
      if (s.name == kInfo) require_is(s, i == 0, "a second INFO"), read_info(s);
      else if (s.name == kTokens) read_tokens(s);
      else if (s.name == kKeys || s.name == kSecondKeys) read_keys(s);
      else if (s.name == kQueries) read_queries(s);
      else require_is(s, false, "an unknown tag");
    }
    if (n == 0) in_.fail("number of sections", 12, "0");
    if (in_.remaining() > 0)
      in_.fail("end", in_.position(), fmt::format("{} bytes follow the last section", in_.remaining()));
    check_complete();
    std::vector<uint32_t> table;
    for (uint32_t i = 0; i < n_pages(); i++) table.push_back(i % pages_per_segment_);
    pages_ = upload(std::as_bytes(std::span(table)), n_pages());
    for (auto& [index, l] : layers_) {
      l.source.pages = pages_;
      l.source.table = Source::table(index, l.source.shape);
    }
  }

  MapSource layer_source(uint32_t layer) override { return layers_.at(layer).source; }
  std::vector<MapToken> tokens() const override { return tokens_; }
  uint32_t n_tokens() const override { return info_.n_tokens; }
  uint32_t first_query() const override { return info_.first_query; }
  uint32_t end_query() const override { return info_.end_query; }
  std::vector<uint32_t> pinned() const override {
    std::vector<uint32_t> list;
    for (const auto& [index, l] : layers_) list.push_back(index);
    return list;
  }
  const MapLayer& layer(uint32_t index) const override { return layers_.at(index).layer; }
  MapMemory memory() const override { return {key_bytes_, kept_bytes_, 0}; }

 private:
  struct Layer {
    MapLayer layer;
    MapSource source;
    uint32_t n_pages[2] = {}, end_query = 0;  // read so far
  };

  void require_is(const Section& s, bool good, std::string_view what) {
    if (!good) in_.fail("section", s.at, what);
  }
  uint32_t n_pages() const { return ceil_div(info_.n_tokens, info_.page_tokens); }
  Tensor upload(std::span<const std::byte> bytes, uint32_t cols) {
    const uint64_t most = device.caps().max_binding_bytes;
    require(bytes.size() <= most, "{}: a part of {} bytes, a binding of this device has {}", file_.name(),
            bytes.size(), most);
    const Buffer& buffer = buffers_.emplace_back(device, bytes.size(), Memory::device, "capture");
    const Tensor t(buffer, DType::u32, static_cast<uint32_t>(bytes.size() / 4 / cols), cols);
    stream.upload(t, bytes);
    return t;
  }

  void read_info(const Section& s) {
    try {
      info_ = parse_capture_json({reinterpret_cast<const char*>(s.bytes.data()), s.bytes.size()});
    } catch (const std::exception& e) {
      require_is(s, false, fmt::format("INFO: {}", e.what()));
    }
    model = info_.model;
    positions = info_.positions;
    rope = info_.rope;
    n_layers = info_.n_layers;
    uint64_t page_bytes = 1;
    for (const MapLayer& l : info_.layers) {
      MapSource source;
      source.cache = {l.n_kv_heads, l.head_dim, info_.page_tokens, l.k_type, l.k_type};
      source.shape = l.plan.shape;
      source.first_query = info_.first_query;
      source.end_query = info_.end_query;
      source.n_keys = info_.n_tokens;
      page_bytes = std::max(page_bytes, source.cache.k_page_bytes());
      layers_[l.index] = {l, source};
    }
    pages_per_segment_ = static_cast<uint32_t>(
        std::clamp<uint64_t>(device.caps().max_binding_bytes / page_bytes, 1, n_pages()));
  }

  Layer& layer_of(const Section& s) {
    const auto found = layers_.find(s.layer);
    require_is(s, found != layers_.end(), fmt::format("layer {} is not in INFO", s.layer));
    return found->second;
  }
  // The section's two numbers; the first must be `wanted`.
  std::pair<uint32_t, uint32_t> block(const Section& s, uint32_t wanted, uint32_t end, const char* what) {
    uint32_t first = 0, n = 0;
    require_is(s, s.bytes.size() >= 8, "it is too short");
    std::memcpy(&first, s.bytes.data(), 4);
    std::memcpy(&n, s.bytes.data() + 4, 4);
    require_is(
        s, first == wanted && n >= 1 && n <= end - wanted,
        fmt::format("{} {} from {}, expected are 1 to {} from {}", n, what, first, end - wanted, wanted));
    return {first, n};
  }

  void read_tokens(const Section& s) {
    ByteReader text(s.bytes, file_.name());
    text.set_context("tokens");
    require_is(s, tokens_.empty(), "a second TOKN");
    for (uint32_t i = 0; i < info_.n_tokens; i++) {
      const int id = text.read<int32_t>("id");
      tokens_.push_back({id, text.string("text")});
    }
    require_is(s, text.remaining() == 0, "it is too long");
  }

  void read_keys(const Section& s) {
    Layer& l = layer_of(s);
    const uint32_t form = s.name == kSecondKeys;
    require_is(s, form < l.source.shape.n_key_forms(), "this layer has one form of K");
    const auto [first, n] = block(s, l.n_pages[form], n_pages(), "pages");
    const uint64_t page_bytes = l.source.cache.k_page_bytes();
    require_is(s, s.bytes.size() == 8 + n * page_bytes, "it has not the length of its pages");
    const auto words = static_cast<uint32_t>(page_bytes / 4);
    for (uint32_t page = first; page < first + n;) {
      const uint32_t index = page / pages_per_segment_, begin = index * pages_per_segment_,
                     here = std::min(begin + pages_per_segment_, n_pages()) - begin;
      auto& segments = l.source.segments;
      if (segments.size() <= index)
        segments.push_back({{}, {}, begin * info_.page_tokens, here * info_.page_tokens});
      Tensor& keys = form ? segments[index].k2 : segments[index].k;
      if (!keys) {
        const Buffer& buffer =
            buffers_.emplace_back(device, here * page_bytes, Memory::device, "keys of a capture");
        keys = Tensor(buffer, DType::u32, here, words);
        key_bytes_ += buffer.bytes();
      }
      const uint32_t count = std::min(begin + here, first + n) - page;
      Tensor to = keys;
      to.rows = count;
      to.offset_bytes += (page - begin) * page_bytes;
      stream.upload(to, std::span(s.bytes).subspan(8 + (page - first) * page_bytes, count * page_bytes));
      page += count;
    }
    l.n_pages[form] += n;
  }

  void read_queries(const Section& s) {
    Layer& l = layer_of(s);
    const MapSource& m = l.source;
    const auto [first, n] = block(s, std::max(l.end_query, info_.first_query), info_.end_query, "rows");
    const uint32_t versions = m.shape.n_queries(), width = m.shape.n_heads * m.cache.head_dim;
    const uint64_t row = uint64_t{4} * width, lse_row = uint64_t{4} * m.shape.n_heads;
    require_is(s, s.bytes.size() == 8 + n * (versions * row + lse_row), "it has not the length of its rows");
    const auto most =
        static_cast<uint32_t>(std::clamp<uint64_t>(device.caps().max_binding_bytes / (versions * row), 1, n));
    for (uint32_t at = 0; at < n; at += most) {
      const uint32_t count = std::min(most, n - at);
      std::vector<std::byte> rows;
      for (uint32_t version = 0; version < versions; version++) {
        const auto part = std::span(s.bytes).subspan(8 + (uint64_t{version} * n + at) * row, count * row);
        rows.insert(rows.end(), part.begin(), part.end());
      }
      Tensor q = upload(rows, width),
             lse = upload(std::span(s.bytes).subspan(8 + n * versions * row + at * lse_row, count * lse_row),
                          m.shape.n_heads);
      kept_bytes_ += q.bytes() + lse.bytes();
      l.source.parts.push_back({q, lse, first + at});
    }
    l.end_query = first + n;
  }

  void check_complete() {
    const auto missing = [&](bool good, const std::string& what) {
      if (!good) in_.fail("end", in_.position(), what);
    };
    missing(!tokens_.empty(), "the tokens are missing");
    for (const auto& [index, l] : layers_) {
      missing(l.end_query == info_.end_query, fmt::format("queries of layer {} are missing", index));
      for (uint32_t form = 0; form < l.source.shape.n_key_forms(); form++)
        missing(l.n_pages[form] == n_pages(), fmt::format("keys of layer {} are missing", index));
    }
  }

  InputFile file_;
  ByteReader in_;
  CaptureInfo info_;
  std::vector<MapToken> tokens_;
  std::map<uint32_t, Layer> layers_;
  uint32_t pages_per_segment_ = 1;
  std::deque<Buffer> buffers_;  // tensors point at them
  Tensor pages_;
  uint64_t key_bytes_ = 0, kept_bytes_ = 0;
};

}  // namespace

void write_capture(AttentionMaps::Source& source, const std::string& path) {
  CaptureInfo c{source.model,      source.positions,     source.rope,       source.n_layers,
                source.n_tokens(), source.first_query(), source.end_query()};
  require(c.first_query < c.end_query, ErrorKind::usage, "{}: no queries are kept, there is nothing to save",
          path);
  const std::vector<uint32_t> pinned = source.pinned();
  for (uint32_t layer : pinned) c.layers.push_back(source.layer(layer));
  c.page_tokens = source.layer_source(pinned[0]).cache.page_tokens;
  Writer out(path);
  out.put(kMagic), out.put(kVersion), out.put(uint32_t{0});
  const std::string info = capture_json(c);
  out.section(kInfo, 0, std::as_bytes(std::span(info)));
  std::vector<std::byte> tokens;
  const auto put = [&](const auto& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    tokens.insert(tokens.end(), bytes.begin(), bytes.end());
  };
  for (const MapToken& t : source.tokens()) {
    put(int32_t{t.id}), put(uint64_t{t.text.size()});
    const auto text = std::as_bytes(std::span(t.text));
    tokens.insert(tokens.end(), text.begin(), text.end());
  }
  out.section(kTokens, 0, tokens);
  for (uint32_t layer : pinned) {
    const MapSource s = source.layer_source(layer);
    for (uint32_t form = 0; form < s.shape.n_key_forms(); form++)
      write_keys(out, source.stream, s, layer, form);
    write_queries(out, source.stream, s, layer);
  }
  out.finish();
}

std::unique_ptr<AttentionMaps::Source> read_capture(Device& device, const std::string& path) {
  return std::make_unique<FileSource>(device, path);
}

}  // namespace spindle
