// How the rows of a tile begin and end whose states and outputs are cooperative matrices (attention_coopmat2.comp).

// A row of the subgroup's matrices, as rows.glsl counts them: from the lane's own.
uint relative(uint row) { return matrix_row() + row - LANE_INDEX / SPAN; }
bool exists(uint r) { return first + r < end && rows[(first + r) / pack].in_use != 0; }
// The first output of matrix i, and where an output lies.
uint column_of(uint i) { return (gl_SubgroupID % GN * TV + i) * N; }
bool writes_state(uint column) { return column == 0 && gl_SubgroupID % GN == 0; }

float carried_largest(const in uint row, const in uint column, const in float m_) {
  return exists(relative(row)) ? states[p.first_state + state_row(relative(row))].x : kNone;
}
float carried_total(const in uint row, const in uint column, const in float l_) {
  return exists(relative(row)) ? states[p.first_state + state_row(relative(row))].y : 0;
}
float carried_sum(const in uint row, const in uint column, const in float sum, const in uint first_column) {
  const uint c = first_column + column;
  return exists(relative(row)) && c < VALUE_DIM ? sum_floats[state_row(relative(row)) * VALUE_DIM + c] : 0;
}

void load_states(bool carried) {
  if (LANE_INDEX == 0) bad_keys[turn] = 0;
  if (lane == 0) row_terms[LANE_INDEX / SPAN] = uvec2(floatBitsToUint(slope[0]), bias_at[0]);
  loaded = false;
  largest = PRODUCTS(kNone);
  total = PRODUCTS(0);
  [[unroll]] for (uint i = 0; i < TV; i++) outputs[i] = SUMS(0);
  if (!carried) return;
  coopMatPerElementNV(largest, largest, carried_largest);
  coopMatPerElementNV(total, total, carried_total);
  [[unroll]] for (uint i = 0; i < TV; i++) coopMatPerElementNV(outputs[i], outputs[i], carried_sum, column_of(i));
}

float of_first_column(const in uint row, const in uint column, const in float x) { return column == 0 ? x : 0; }
float write_state(const in uint row, const in uint column, const in float m_, const in float l_) {
  if (writes_state(column) && exists(relative(row))) states[p.first_state + state_row(relative(row))] = vec2(m_, l_);
  return m_;
}
float write_lse(const in uint row, const in uint column, const in float m_, const in float l_) {
  if (writes_state(column) && exists(relative(row))) lse[head_row(relative(row))] = finish_row(m_, l_, head_of(relative(row))).z;
  return m_;
}
float write_sum(const in uint row, const in uint column, const in float sum, const in uint first_column) {
  const uint c = first_column + column;
  if (exists(relative(row)) && c < VALUE_DIM) sum_floats[state_row(relative(row)) * VALUE_DIM + c] = sum;
  return sum;
}
float write_output(const in uint row, const in uint column, const in float sum, const in float m_, const in float l_,
                   const in uint first_column) {
  const uint c = first_column + column;
  if (exists(relative(row)) && c < VALUE_DIM) {
    const vec3 ending = finish_row(m_, l_, head_of(relative(row)));
    y_floats[head_row(relative(row)) * VALUE_DIM + c] = sum * (ending.x / WEIGHT_TOP) / ending.y;
  }
  return sum;
}

void store_rows(bool finished) {
  if (!finished) {
    coopMatPerElementNV(largest, largest, write_state, total);
    [[unroll]] for (uint i = 0; i < TV; i++) coopMatPerElementNV(outputs[i], outputs[i], write_sum, column_of(i));
    return;
  }
  if ((p.flags & ATTENTION_WRITE_LSE) != 0) coopMatPerElementNV(largest, largest, write_lse, total);
  SUMS m_, l_;
  coopMatPerElementNV(total, total, of_first_column);
  coopMatReduceNV(m_, largest, gl_CooperativeMatrixReduceRowNV, larger);
  coopMatReduceNV(l_, total, gl_CooperativeMatrixReduceRowNV, sum_of);
  [[unroll]] for (uint i = 0; i < TV; i++) coopMatPerElementNV(outputs[i], outputs[i], write_output, m_, l_, column_of(i));
}
