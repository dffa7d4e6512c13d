// The vocabulary that architectures are written in: which tensors a layer has and which mechanisms it uses.
// An architecture is a function that fills these structs; models/transformer.cpp alone reads them.
#ifndef SPINDLE_MODELS_ARCHITECTURE_H
#define SPINDLE_MODELS_ARCHITECTURE_H
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "models/config.h"

namespace spindle {

enum class Rope { none, interleaved, half_split };
enum class Bias { none, optional, required };

// A projection: tensors NAME.weight and, where there is one, NAME.bias.
struct Linear {
  std::string name;
  Bias bias = Bias::optional;
};

struct AttentionBlock {
  std::string norm = "attn_norm";
  Linear q{"attn_q"}, k{"attn_k"}, v{"attn_v"}, output{"attn_output"};
  std::string q_norm, k_norm;  // RMS norm over each head; empty: none
  Rope rope = Rope::interleaved;
  double scale = 0;  // of the scores; 0: 1 / sqrt(head_dim)
};

struct FeedForward {  // down(silu(gate(x)) * up(x))
  std::string norm = "ffn_norm";
  Linear gate{"ffn_gate"}, up{"ffn_up"}, down{"ffn_down"};
};

// Names are those of GGUF after `blk.N.`.
struct Layer {
  AttentionBlock attention;
  FeedForward feed_forward;
};

struct Architecture {
  std::string name;  // general.architecture
  std::function<Layer(const Config&, int)> layer;
  std::string token_embedding = "token_embd", output_norm = "output_norm";
  std::string output = "output";  // the token embedding where the file has no such tensor
};

// Every family that runs, in one explicit list (architectures/list.cpp).
const std::vector<Architecture>& architectures();
// Throws ErrorKind::model_file with the list.
const Architecture& get_architecture(std::string_view name);

Architecture llama();
Architecture qwen2();
Architecture qwen3();

}  // namespace spindle
#endif
