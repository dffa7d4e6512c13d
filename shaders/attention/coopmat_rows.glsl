// The rows of a tile whose outputs are cooperative matrices: how they begin and end.
// Four outputs of a row on their way from or to matrices t of the subgroups side by side; where they lie in a row.
uint fours_at(uint t, uint i) { return (i / (N / 4) * TV + t) * (N / 4) + i % (N / 4); }

void load_states(bool carried) {
  const bool exists = first < end;
  const vec2 state = exists && carried ? states[p.first_state + state_row(0)] : vec2(kNone, 0);
  m[0] = state.x;
  l[0] = state.y;
  loaded = false;
  [[unroll]] for (uint t = 0; t < TV; t++) outputs[t] = SUMS(0);
  if (!carried) return;
  [[unroll]] for (uint t = 0; t < TV; t++) {
    for (uint i = lane; i < GN * N / 4; i += SPAN) {
      const bool own = exists && fours_at(t, i) < VALUE_DIM / 4;
      scores[LANE_INDEX / SPAN * S_STRIDE + i] = own ? sums[state_row(0) * (VALUE_DIM / 4) + fours_at(t, i)] : vec4(0);
    }
    barrier();
    coopMatLoad(outputs[t], scores, matrix_row() * S_STRIDE + gl_SubgroupID % GN * (N / 4), S_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
    barrier();
  }
}

void store_rows(bool finished) {
  const bool exists = first < end && after[0] > 0;
  const vec3 ending = finish_row(m[0], l[0], exists ? head_of(0) : 0);
  if (exists && lane == 0) {
    if (!finished) states[p.first_state + state_row(0)] = vec2(m[0], l[0]);
    else if ((p.flags & ATTENTION_WRITE_LSE) != 0) lse[head_row(0)] = ending.z;
  }
  [[unroll]] for (uint t = 0; t < TV; t++) {
    coopMatStore(outputs[t], scores, matrix_row() * S_STRIDE + gl_SubgroupID % GN * (N / 4), S_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
    barrier();
    for (uint i = lane; i < GN * N / 4; i += SPAN) {
      const vec4 sum = scores[LANE_INDEX / SPAN * S_STRIDE + i];
      if (exists && fours_at(t, i) < VALUE_DIM / 4) {
        if (!finished) sums[state_row(0) * (VALUE_DIM / 4) + fours_at(t, i)] = sum;
        else y[head_row(0) * (VALUE_DIM / 4) + fours_at(t, i)] = sum * (ending.x / WEIGHT_TOP) / ending.y;
      }
    }
    barrier();
  }
}
