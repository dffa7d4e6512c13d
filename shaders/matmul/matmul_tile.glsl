// What the kernels of the matrix product share: a lane owns TN outputs LANES apart, of TM rows; its K loop runs over
// blocks of 32 inputs. For prompts SLICES is 1 and a sum is one chain over the blocks. For generated tokens the blocks
// are dealt to SLICES lanes whose sums are added in order. Neither depends on TM, TN or ROW_GROUPS.
#include "shaders/matmul/matmul_output.h"
#extension GL_EXT_control_flow_attributes : require

layout(constant_id = 0) const uint LANES = 32;      // outputs side by side
layout(constant_id = 1) const uint ROW_GROUPS = 1;  // tiles of rows in a workgroup: they share its weights in the cache
layout(constant_id = 2) const uint SLICES = 1;
layout(local_size_x = 32, local_size_x_id = 0, local_size_y = 1, local_size_y_id = 1, local_size_z = 1, local_size_z_id = 2) in;
layout(constant_id = 3) const uint TM = 8;
layout(constant_id = 4) const uint TN = 2;
layout(constant_id = 5) const uint WEIGHT_TYPE = 3;
layout(constant_id = 6) const bool BIAS = false;
layout(constant_id = 7) const uint TOUCH = 0;  // blocks whose cache lines are asked for ahead

#define WEIGHT_BINDING 1
#define SCALES_BINDING 2
#include "shaders/weight/weight.glsl"
layout(binding = 4) readonly buffer Bias { float bias[]; };

// The rows and outputs of a workgroup: consecutive ones of the part, or those of one expert.
#ifdef EXPERTS
layout(binding = 0) writeonly buffer Y { float y[]; };
#include "shaders/experts/expert_rows.glsl"
#else
layout(push_constant) uniform Push { MatmulParameters p; };
bool find_tile() { return true; }
uint tile_row() { return gl_WorkGroupID.x * ROW_GROUPS * TM; }
bool row_exists(uint row) { return row < p.rows; }
uint x_row(uint row) { return min(row, p.rows - 1); }
bool output_exists(uint output_) { return output_ < p.count; }
uint part_output(uint output_) { return min(output_, (p.count - 1) | (WEIGHT_GROUP - 1)); }  // padding included
uint bias_at(uint output_) { return p.first + output_; }
#include "shaders/matmul/matmul_output.glsl"
#endif

// CPUs wait for each line of a weight that they have not seen: lanes ask for those of many blocks at once. SPIR-V has no
// prefetch, so the words are kept as if they were wanted.
const uint LINE_WORDS = 16;
const uint BLOCK_WORDS = LOW_BITS * WEIGHT_GROUP;  // of a group
const uint TOUCH_GROUPS = (LANES * TN + WEIGHT_GROUP - 1) / WEIGHT_GROUP, TOUCH_LINES = TOUCH * BLOCK_WORDS / LINE_WORDS;
const uint TOUCH_RECORDS = (TOUCH + RECORD_BLOCKS - 1) / RECORD_BLOCKS * RECORD_WORDS;
uint touched = 0;

void touch(uint block, uint n_blocks) {
  const uint lane = gl_LocalInvocationID.x, first = gl_WorkGroupID.y * LANES * TN;
  [[unroll]] for (uint i = 0; i < TOUCH_GROUPS * TOUCH_LINES; i += LANES) {
    const uint group = part_output(first + (i + lane) / TOUCH_LINES * WEIGHT_GROUP) / WEIGHT_GROUP;
    const uint at = block * BLOCK_WORDS + (i + lane) % TOUCH_LINES * LINE_WORDS;
    touched ^= weight_value_words[group * n_blocks * BLOCK_WORDS + min(at, n_blocks * BLOCK_WORDS - 1)];
  }
  if (!WEIGHT_SCALED) return;
  const uint n_words = (n_blocks + RECORD_BLOCKS - 1) / RECORD_BLOCKS * RECORD_WORDS * WEIGHT_GROUP;
  [[unroll]] for (uint i = 0; i < TOUCH_GROUPS * TOUCH_RECORDS; i += LANES) {
    const uint group = part_output(first + (i + lane) / TOUCH_RECORDS * WEIGHT_GROUP) / WEIGHT_GROUP;
    const uint at = (block / RECORD_BLOCKS * RECORD_WORDS + (i + lane) % TOUCH_RECORDS) * WEIGHT_GROUP;
    touched ^= weight_words[group * n_words + min(at, n_words - 1)];
  }
}

shared float slice_sums[SLICES > 1 ? SLICES * ROW_GROUPS * TM * TN * LANES : 1];

float sums[TM * TN];  // of a lane: row r and output t are at r * TN + t

void write_sums(uint first_row, uint first_output) {
  const uint lane = gl_LocalInvocationID.x, slice = gl_LocalInvocationID.z;
  if (TOUCH > 0 && p.n == 0) y[lane] = uintBitsToFloat(touched);  // never
  if (SLICES > 1) {
    const uint own = gl_LocalInvocationID.y * TM * TN * LANES + lane, stride = ROW_GROUPS * TM * TN * LANES;
    [[unroll]] for (uint i = 0; i < TM * TN; i++) slice_sums[slice * stride + own + i * LANES] = sums[i];
    barrier();
    if (slice > 0) return;
    [[unroll]] for (uint i = 0; i < TM * TN; i++)
      for (uint z = 1; z < SLICES; z++) sums[i] += slice_sums[z * stride + own + i * LANES];
  }
  [[unroll]] for (uint r = 0; r < TM; r++)
    [[unroll]] for (uint t = 0; t < TN; t++) {
      const uint output_ = first_output + t * LANES, row = first_row + r;
      if (output_exists(output_) && row_exists(row))
        write_output(row, output_, BIAS ? sums[r * TN + t] + bias[bias_at(output_)] : sums[r * TN + t]);
    }
}
