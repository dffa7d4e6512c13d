// Walks the architecture, checks what it names against the file, and loads it.
#include "models/weights.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <thread>
#include <tuple>

#include "runtime/error.h"
#include "shaders/matmul/matmul.h"

namespace spindle {
namespace {

// Bytes of a tensor of the file.
struct Source {
  const GgufTensor* tensor;
  uint64_t first_byte = 0, bytes = 0;
};

// Where those of one tensor, or of several one after the other, go.
struct Item {
  std::vector<Source> sources;
  DType type;
  Weight* matrix = nullptr;  // one of the two
  Tensor* vector = nullptr;
  uint32_t rows = 1;  // of the vector
  // Of a matrix of experts: outputs of one, and where each is if they are tensors of their own.
  uint32_t expert_outputs = 0;
  std::vector<const GgufTensor*> experts{};
};

// Rows of a tensor: all, or as many as are asked for out of `all`.
struct Range {
  uint32_t first = 0, all = 0;
  uint32_t of(uint32_t n) const { return all ? all : n; }
};

}  // namespace

// Collects what is needed; every name, type and shape is checked here.
class Weights::Plan {
 public:
  Plan(const Gguf& file, const Caps& caps) : file_(file), caps_(caps) {}

  bool has(const std::string& name) const { return file_.find_tensor(name) != nullptr; }

  void matrix(const std::string& name, uint32_t n, uint32_t k, Weight& to, Range rows = {}) {
    const GgufTensor& t = get(name, {k, rows.of(n)});
    const DType type = type_of(t);
    items_.push_back({{{&t, bytes_of(type, k) * rows.first, bytes_of(type, k) * n}}, type, &to});
    matrices.push_back({type, n, k});
  }
  // [count, n, k] in one tensor, or in one for each expert.
  void experts(const std::string& name, bool separate, uint32_t count, uint32_t n, uint32_t k,
               ExpertWeight& to) {
    to.experts = count;
    to.n = n;
    Item item{};
    for (uint32_t e = 0; separate && e < count; e++) {
      item.experts.push_back(&get(fmt::format("{}.{}.weight", name, e), {k, n}));
      require(item.experts[e]->type == item.experts[0]->type, ErrorKind::model_file,
              "{}: tensor '{}' has another type than '{}'", file_.file(), item.experts[e]->name,
              item.experts[0]->name);
    }
    const GgufTensor* tensor = separate ? item.experts[0] : &get(name + ".weight", {k, n, count});
    item.type = type_of(*tensor);
    item.sources = {{tensor, 0, bytes_of(item.type, k) * n * count}};
    item.matrix = &to.weight;
    item.expert_outputs = n;
    matrices.push_back(expert_shape(item.type, count, n, k));
    items_.push_back(std::move(item));
  }
  // f32 [rows, cols] on the device.
  void vector(const std::string& name, uint32_t cols, uint32_t rows, Tensor& to, Range range = {}) {
    const GgufTensor& t = get(name, {range.of(cols), rows});
    const DType type = type_of(t);
    require(info(type).block_elements == 1, ErrorKind::model_file,
            "{}: tensor '{}' is {}, expected f32, f16 or bf16", file_.file(), name, info(type).name);
    items_.push_back({{{&t, bytes_of(type, range.first), bytes_of(type, uint64_t{cols} * rows)}},
                      type,
                      nullptr,
                      &to,
                      rows});
    vectors.push_back(cols * rows);
  }
  void projection(const std::string& prefix, const Linear& linear, uint32_t n, uint32_t k, Projection& to) {
    if (linear.name.empty()) return;
    const Range rows{linear.first_row, linear.all_rows};
    matrix(prefix + linear.name + ".weight", n, k, to.weight, rows);
    const std::string bias = prefix + linear.name + ".bias";
    const bool biased = takes(linear.bias, bias);
    if (biased) vector(bias, n, 1, to.bias, rows);
    products.insert({items_[items_.size() - (biased ? 2 : 1)].type, k, biased});
  }
  // Projections of the same rows: those of one type are one matrix, as far as groups of outputs and bindings
  // allow.
  void joint(const std::string& prefix, std::initializer_list<std::pair<Linear, uint32_t>> all, uint32_t k,
             std::vector<JointProjection>& to) {
    to.reserve(all.size());  // items point at them
    uint32_t outputs = 0;
    for (const auto& [linear, n] : all)
      outputs += linear.name.empty() ? 0 : round_up(n, uint32_t{kTensorAlignment / 4});
    for (const auto& [linear, n] : all) {
      if (linear.name.empty()) continue;
      const size_t first = items_.size();
      projection(prefix, linear, n, k, to.emplace_back());
      if (to.size() > 1 && outputs <= most_joint_outputs(caps_) && merge(first)) to.pop_back();
      to.back().n_parts++;
    }
  }
  // Over rows of n_heads heads of head_dim elements.
  void norm(const std::string& prefix, const Norm& norm, uint32_t n_heads, uint32_t head_dim,
            NormWeights& to) {
    if (!norm) return;
    const uint32_t cols = norm.over == NormOver::row ? n_heads * head_dim : head_dim;
    const uint32_t rows = norm.over == NormOver::each_head ? n_heads : 1;
    vector(prefix + norm.name + ".weight", cols, rows, to.weight);
    const std::string bias = prefix + norm.name + ".bias";
    if (takes(norm.bias, bias)) vector(bias, cols, rows, to.bias);
  }

  // Makes the items from `first` on, a matrix and perhaps a bias, parts of those before them.
  bool merge(size_t first) {
    const size_t n = items_.size() - first;
    if (first < n || matrices[matrices.size() - 2].n % WEIGHT_GROUP != 0) return false;
    for (size_t i = first; i < items_.size(); i++)
      if (items_[i].type != items_[i - n].type || !items_[i].matrix != !items_[i - n].matrix) return false;
    for (size_t i = first; i < items_.size(); i++) items_[i - n].sources.push_back(items_[i].sources.front());
    items_.erase(items_.begin() + static_cast<ptrdiff_t>(first), items_.end());
    matrices[matrices.size() - 2].n += matrices.back().n;
    matrices.pop_back();
    if (n == 2) {
      vectors[vectors.size() - 2] += vectors.back();
      vectors.pop_back();
    }
    return true;
  }
  const std::vector<Item>& items() const { return items_; }
  std::vector<std::string> unused() const {
    std::vector<std::string> names;
    for (const GgufTensor& t : file_.tensors())
      if (!used_.count(t.name)) names.push_back(t.name);
    return names;
  }
  void use(const std::string& name) { used_.insert(name); }

  std::vector<WeightShape> matrices;
  std::vector<uint32_t> vectors;
  std::set<std::tuple<DType, uint32_t, bool>> products;  // type, inputs, bias

 private:
  bool takes(Bias bias, const std::string& name) const {
    return bias == Bias::required || (bias == Bias::optional && has(name));
  }
  const GgufTensor& get(const std::string& name, std::initializer_list<uint64_t> dims) {
    const GgufTensor* t = file_.find_tensor(name);
    require(t, ErrorKind::model_file, "{}: tensor '{}' is missing, expected [{}]", file_.file(), name,
            fmt::join(dims, ", "));
    std::array<uint64_t, 4> all{1, 1, 1, 1};
    std::copy(dims.begin(), dims.end(), all.begin());
    require(std::equal(all.begin(), all.end(), t->dims.begin()), ErrorKind::model_file,
            "{}: tensor '{}' at byte {}: expected [{}], got [{}]", file_.file_of(*t), name, t->info_offset,
            fmt::join(dims, ", "), fmt::join(t->dims.begin(), t->dims.begin() + t->n_dims, ", "));
    used_.insert(name);
    return *t;
  }
  DType type_of(const GgufTensor& t) const {
    const std::optional<DType> type = find_dtype_by_gguf(t.type);
    const GgufTensorType* known = find_gguf_tensor_type(t.type);
    require(type.has_value(), ErrorKind::model_file,
            "{}: tensor '{}' at byte {}: type {} is not supported; supported are: {}", file_.file_of(t),
            t.name, t.info_offset, known ? std::string(known->name) : std::to_string(t.type),
            file_dtype_names());
    return *type;
  }

  const Gguf& file_;
  const Caps& caps_;
  std::vector<Item> items_;
  std::set<std::string> used_;
};

void Weights::plan_experts(Plan& plan, const std::string& prefix, const Experts& e, uint32_t dim,
                           ExpertWeights& to) {
  plan.projection(prefix, e.router, e.count, dim, to.router);
  plan.experts(prefix + e.gate, e.separate, e.count, e.dim, dim, to.gate);
  plan.experts(prefix + e.up, e.separate, e.count, e.dim, dim, to.up);
  plan.experts(prefix + e.down, e.separate, e.count, dim, e.dim, to.down);
  if (e.shared_dim == 0) return;
  plan.joint(prefix, {{e.shared_gate, e.shared_dim}, {e.shared_up, e.shared_dim}}, dim, to.shared_gate_up);
  plan.projection(prefix, e.shared_down, dim, e.shared_dim, to.shared_down);
  plan.projection(prefix, e.shared_router, 1, dim, to.shared_router);
}

uint32_t most_joint_outputs(const Caps& caps) {
  constexpr uint64_t kRows = 256;
  return static_cast<uint32_t>(std::min<uint64_t>(caps.max_binding_bytes / (4 * kRows), UINT32_MAX));
}

bool Weights::plan(Plan& plan, const Config& c, const Architecture& architecture) {
  layers_.resize(c.n_layers);
  const Ends ends = architecture.ends(c);
  plan.matrix(ends.token_embedding + ".weight", c.vocab_size, c.dim, embedding_);
  if (!ends.position_embedding.empty())
    plan.matrix(ends.position_embedding + ".weight", c.context_length, c.dim, position_embedding_);
  plan.norm("", ends.embedding_norm, 1, c.dim, embedding_norm_);
  plan.norm("", ends.output_norm, 1, c.dim, output_norm_);
  const bool tied = !plan.has(ends.output + ".weight");
  if (!tied) plan.matrix(ends.output + ".weight", c.vocab_size, c.dim, output_);
  for (uint32_t i = 0; i < c.n_layers; i++) {
    const Layer layer = architecture.layer(c, static_cast<int>(i));
    const AttentionBlock& a = layer.attention;
    const FeedForward& f = layer.feed_forward;
    LayerWeights& w = layers_[i];
    const std::string prefix = fmt::format("blk.{}.", i);
    const uint32_t q_dim = c.n_heads[i] * c.head_dim, kv_dim = c.n_kv_heads[i] * c.head_dim;
    plan.norm(prefix, a.norm, 1, c.dim, w.attention_norm);
    plan.joint(prefix, {{a.q, q_dim}, {a.k, kv_dim}, {a.v, kv_dim}}, c.dim, w.qkv);
    plan.projection(prefix, a.output, c.dim, q_dim, w.output);
    if (!a.sinks.empty()) plan.use(prefix + a.sinks + ".weight");
    if (!a.relative_bias.empty()) plan.use(a.relative_bias + ".weight");
    plan.norm(prefix, a.q_norm, c.n_heads[i], c.head_dim, w.q_norm);
    plan.norm(prefix, a.k_norm, c.n_kv_heads[i], c.head_dim, w.k_norm);
    plan.norm(prefix, a.post_norm, 1, c.dim, w.attention_post_norm);
    if (!layer.shares_norm()) plan.norm(prefix, f.norm, 1, c.dim, w.feed_forward_norm);
    if (f.experts.count) {
      plan_experts(plan, prefix, f.experts, c.dim, w.experts);
    } else {
      plan.joint(prefix, {{f.gate, c.ffn_dim[i]}, {f.up, c.ffn_dim[i]}}, c.dim, w.gate_up);
      plan.projection(prefix, f.down, c.dim, c.ffn_dim[i], w.down);
    }
    plan.norm(prefix, f.post_norm, 1, c.dim, w.feed_forward_post_norm);
  }
  for (const char* name : {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})
    plan.use(name);  // read by the model
  return tied;
}

uint64_t Weights::bytes_needed(const Caps& caps, const Gguf& file, const Config& c,
                               const Architecture& architecture) {
  Plan all(file, caps);
  Weights().plan(all, c, architecture);
  return WeightStore::bytes_needed(caps, all.matrices, all.vectors);
}

Weights::Weights(Stream& stream, const Gguf& file, const Config& c, const Architecture& architecture,
                 const Progress& progress) {
  const Caps& caps = stream.caps();
  Plan plan(file, caps);
  const bool tied = this->plan(plan, c, architecture);
  unused_ = plan.unused();

  const uint64_t needed = WeightStore::bytes_needed(caps, plan.matrices, plan.vectors);
  const uint64_t free = stream.device().free_bytes();
  require(free == 0 || needed <= free, ErrorKind::out_of_memory,
          "{}: the weights need {:.1f} GiB, {:.1f} free on {}: try a smaller model or a smaller quantisation",
          file.file(), static_cast<double>(needed) / (1 << 30), static_cast<double>(free) / (1 << 30),
          stream.device().info().name);
  store_ = WeightStore(stream.device(), plan.matrices, plan.vectors);

  // Pipelines are built while weights are read. What goes wrong is said where they are used.
  std::vector<KernelSpec> kernels;
  for (const auto& [type, k, bias] : plan.products)
    for (KernelSpec& spec : matmul_kernels(caps, type, k, bias)) kernels.push_back(std::move(spec));
  const std::jthread builder([&] {
    try {
      stream.device().compile(std::move(kernels));
    } catch (...) {
    }
  });

  uint64_t all = 0, done = 0;
  for (const Item& item : plan.items())
    for (const Source& source : item.sources) all += source.bytes;
  size_t next_matrix = 0, next_vector = 0;
  for (const Item& item : plan.items()) {
    const auto read_tensor = [&](const GgufTensor& tensor, uint64_t first, std::span<std::byte> to) {
      file.read_tensor(tensor, to, first);
      done += to.size();
      if (progress) progress(done, all);
    };
    const GgufTensor& tensor = *item.sources.front().tensor;
    ReadBytes read = [&](uint64_t first, std::span<std::byte> to) {
      for (const Source& source : item.sources) {
        const size_t n = std::min<uint64_t>(to.size(), source.bytes - std::min(first, source.bytes));
        if (n > 0) read_tensor(*source.tensor, source.first_byte + first, to.first(n));
        first -= std::min(first, source.bytes);
        to = to.subspan(n);
      }
    };
    if (const uint32_t n = item.expert_outputs) {
      const auto k = static_cast<uint32_t>(tensor.dims[0]);
      read = padded_experts(item.type, n, k, [&](uint32_t e, uint64_t first, std::span<std::byte> to) {
        if (item.experts.empty()) read_tensor(tensor, e * n * bytes_of(item.type, k) + first, to);
        else read_tensor(*item.experts[e], first, to);
      });
    }
    if (item.matrix) {
      store_.load_matrix(stream, next_matrix, read);
      *item.matrix = store_.matrix(next_matrix++);
    } else {
      store_.load_vector(stream, next_vector, item.type, read);
      const Tensor all = store_.vector(next_vector++);
      *item.vector = Tensor(*all.buffer, all.dtype, item.rows, all.cols / item.rows, all.offset_bytes);
    }
  }
  if (tied) output_ = embedding_;
}

}  // namespace spindle
