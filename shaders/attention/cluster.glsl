// Sums and maxima over the SPAN lanes of a cluster. Needs SPAN, UNROLL, lane and EXCHANGE.

// Every step by name: Mesa before 23 does not unroll loops that double their counter.
#define FOR_EACH_BIT(STEP) STEP(1) STEP(2) STEP(4) STEP(8)

float row_max(float value) {
#define STEP(BIT) if (SPAN > BIT) value = max(value, EXCHANGE(value, BIT));
  FOR_EACH_BIT(STEP)
#undef STEP
  return value;
}

float row_sum(float value) {
#define STEP(BIT) if (SPAN > BIT) value += EXCHANGE(value, BIT);
  FOR_EACH_BIT(STEP)
#undef STEP
  return value;
}

// Sums part[0 .. UNROLL - 1] over the lanes of a cluster; lane i gets the sum of part[i % UNROLL].
float transposed_sum(float part[UNROLL]) {
#define STEP(BIT)                                                                                           \
  if (UNROLL > BIT) {                                                                                       \
    const bool odd = (lane & BIT) != 0;                                                                     \
    [[unroll]] for (uint i = 0; i < UNROLL / (2 * BIT); i++)                                                \
      part[i] = (odd ? part[2 * i + 1] : part[2 * i]) + EXCHANGE(odd ? part[2 * i] : part[2 * i + 1], BIT); \
  } else if (SPAN > BIT) {                                                                                  \
    part[0] += EXCHANGE(part[0], BIT);                                                                      \
  }
  FOR_EACH_BIT(STEP)
#undef STEP
  return part[0];
}
