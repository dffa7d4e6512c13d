// The vocabulary that architectures are written in: which tensors a model has and which mechanisms it uses.
// An architecture is two functions that fill these structs; models/transformer*.cpp and weights.cpp read
// them.
#ifndef SPINDLE_MODELS_ARCHITECTURE_H
#define SPINDLE_MODELS_ARCHITECTURE_H
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "models/config.h"
#include "shaders/activation/activation_kind.h"

namespace spindle {

enum class Rope { none, interleaved, half_split };
enum class Bias { none, optional, required };  // optional: where the file has one

// A projection: tensors NAME.weight and, where there is one, NAME.bias.
struct Linear {
  std::string name;  // empty: there is none
  Bias bias = Bias::optional;
  // Of a tensor that holds several: this one's first row, and the rows of all of them; 0: it is alone.
  uint32_t first_row = 0, all_rows = 0;
};

enum class NormKind { rms, layer };
enum class NormOver {
  row,        // the whole of it
  head,       // each head, with one weight [head_dim] for all
  each_head,  // each head, with its own of the weights [heads, head_dim]
};
struct Norm {
  std::string name;  // empty: there is none
  NormKind kind = NormKind::rms;
  Bias bias = Bias::none;
  NormOver over = NormOver::row;
  explicit operator bool() const { return !name.empty(); }
};

struct AttentionBlock {
  Norm norm{"attn_norm"};
  Linear q{"attn_q"}, k{"attn_k"}, v{"attn_v"}, output{"attn_output"};
  double clamp_qkv = 0;  // q, k and v are held within -clamp .. clamp; 0: they are not
  Norm q_norm, k_norm;   // after the clamp, before the rotation
  Rope rope = Rope::interleaved;
  double unscaled_rope_base = 0;  // > 0: frequencies of this base, without the file's scaling
  double scale = 0;               // of the scores; 0: 1 / sqrt(head_dim)
  uint32_t window = 0;            // positions that a query sees, its own included; 0: all
  double soft_cap = 0;            // scores become cap * tanh(score / cap); 0: none
  double max_alibi_bias = 0;      // ALiBi's slopes are 2^(-bias / heads) and so on; 0: none
  std::string sinks;              // a learned score for each head that no value belongs to; empty: none
  std::string relative_bias;      // T5's biases [n_buckets, n_heads], one tensor for all layers; empty: none
  uint32_t n_buckets = 32, max_distance = 128;
  double temperature_slope =
      0;  // scores times max(1, 1 + slope ln(1 + (position + offset) / width)); 0: none
  uint32_t temperature_width = 1, temperature_offset = 0;
  Norm post_norm;  // of what is added to the residual
};

// Feed-forwards of which each row takes the few that a router chooses; without biases.
struct Experts {
  uint32_t count = 0, used = 0;  // 0: the feed-forward is a dense one
  uint32_t dim = 0;              // of one expert
  Linear router{"ffn_gate_inp"};
  std::string gate = "ffn_gate_exps", up = "ffn_up_exps", down = "ffn_down_exps";  // [count, n, k]
  bool separate = false;    // tensors NAME.0, NAME.1, ... hold one expert each
  bool renormalise = true;  // the weights of those used add up to 1, else those of all experts do
  double scale = 1;         // of the weights, after that
  // One more that every row goes through; with a router, times the sigmoid of what that says.
  uint32_t shared_dim = 0;  // 0: there is none
  Linear shared_gate{"ffn_gate_shexp"}, shared_up{"ffn_up_shexp"}, shared_down{"ffn_down_shexp"};
  Linear shared_router{""};
};

struct FeedForward {  // down(f(gate(x)) * up(x)), or down(f(up(x))) without a gate
  Norm norm{"ffn_norm"};
  Linear gate{"ffn_gate"}, up{"ffn_up"}, down{"ffn_down"};
  Activation activation = Activation::silu;
  Experts experts;  // in place of gate, up and down, if there are any
  Norm post_norm;
};

// Names are those of GGUF after `blk.N.`.
struct Layer {
  AttentionBlock attention;
  FeedForward feed_forward;
  // Attention and feed-forward read the same x, each through its norm, which may be one and the same.
  bool parallel = false;
  double residual_scale = 1;  // of what both add
  bool shares_norm() const { return parallel && attention.norm.name == feed_forward.norm.name; }
};

// What comes before and after the layers.
struct Ends {
  std::string token_embedding = "token_embd";
  double embedding_scale = 1;
  std::string position_embedding;  // learned, a row for each position; empty: none
  bool sinusoidal = false;         // sine and cosine of the position are added (Vaswani et al.)
  Norm embedding_norm;
  Norm output_norm{"output_norm"};
  std::string output = "output";  // the token embedding where the file has no such tensor
  double logit_scale = 1;
  double logit_soft_cap = 0;  // after the scale; 0: none
};

struct Architecture {
  std::string name;  // general.architecture
  std::function<Ends(const Config&)> ends;
  std::function<Layer(const Config&, int)> layer;
};

// q, k and v are rows of one tensor, unless the file has them one by one; likewise gate and up.
void fuse_qkv(Layer& layer, const Config& c, int i);
void fuse_gate_up(Layer& layer, const Config& c, int i);
// The experts that the file's settings describe.
void use_experts(Layer& layer, const Config& c, bool renormalise);
// Norms of a kind wherever the layer has any.
void set_norms(Layer& layer, NormKind kind, Bias bias);

// Every family that runs, in one explicit list (architectures/list.cpp).
const std::vector<Architecture>& architectures();
const Architecture* find_architecture(std::string_view name);
// Throws ErrorKind::model_file with the list.
const Architecture& get_architecture(std::string_view name);

Architecture llama();
Architecture qwen2();
Architecture qwen3();
Architecture qwen2moe();
Architecture qwen3moe();
Architecture olmoe();
Architecture gpt2();
Architecture gptneox();
Architecture starcoder2();
Architecture stablelm();
Architecture falcon();
Architecture bloom();
Architecture mpt();
Architecture baichuan();
Architecture phi3();
Architecture olmo2();
Architecture granite();
Architecture granitemoe();
Architecture minicpm();
Architecture command_r();
Architecture cohere2();
Architecture gemma();
Architecture gemma2();
Architecture gemma3();
Architecture mistral3();
Architecture spindle_family();

}  // namespace spindle
#endif
