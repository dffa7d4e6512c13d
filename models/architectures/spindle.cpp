// The models of models/pretrained/train that have other positions than Llama's: its blocks, and ALiBi, T5's
// bias, sinusoids or nothing to tell positions by.
#include "models/architecture.h"
#include "runtime/error.h"

namespace spindle {

Architecture spindle_family() {
  Architecture a = llama();
  a.name = "spindle";
  a.ends = [](const Config& c) {
    require(c.position_method.has_value(), ErrorKind::model_file,
            "key 'spindle.position_method' is missing, expected {}", kPositionMethods);
    Ends e;
    e.embedding_scale = c.embedding_scale.value_or(1);
    e.sinusoidal = c.position_method == PositionMethod::sinusoidal;
    return e;
  };
  a.layer = [](const Config& c, int) {
    Layer l;
    l.attention.rope = Rope::none;
    if (c.position_method == PositionMethod::alibi) l.attention.max_alibi_bias = c.max_alibi_bias.value_or(8);
    if (c.position_method == PositionMethod::t5bias) {
      l.attention.relative_bias = "blk.0.attn_rel_b";
      l.attention.n_buckets = c.relative_buckets;
      l.attention.max_distance = c.relative_max_distance;
    }
    return l;
  };
  return a;
}

}  // namespace spindle
