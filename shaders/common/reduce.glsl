// Sum and maximum over the lanes of a workgroup, the same bits in every lane and from run to run.
// Needs LANES, the workgroup's size, a power of two. With SUBGROUP defined, subgroups reduce first.
#ifdef SUBGROUP
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif

shared float reduce_shared[LANES];

#define REDUCE(NAME, OP, SUBGROUP_OP)                                                  \
  float NAME(float value) {                                                            \
    REDUCE_FIRST(value, SUBGROUP_OP)                                                   \
    const uint lane = REDUCE_SLOT;                                                     \
    if (REDUCE_WRITES) reduce_shared[lane] = value;                                    \
    barrier();                                                                         \
    for (uint half_lanes = REDUCE_COUNT / 2; half_lanes > 0; half_lanes /= 2) {        \
      if (REDUCE_WRITES && lane < half_lanes)                                          \
        reduce_shared[lane] = OP(reduce_shared[lane], reduce_shared[lane + half_lanes]); \
      barrier();                                                                       \
    }                                                                                  \
    const float result = reduce_shared[0];                                             \
    barrier();                                                                         \
    return result;                                                                     \
  }

#ifdef SUBGROUP
#define REDUCE_FIRST(value, SUBGROUP_OP) \
  value = SUBGROUP_OP(value);            \
  if (gl_NumSubgroups == 1) return value;
#define REDUCE_SLOT gl_SubgroupID
#define REDUCE_WRITES subgroupElect()
#define REDUCE_COUNT gl_NumSubgroups
#else
#define REDUCE_FIRST(value, SUBGROUP_OP)
#define REDUCE_SLOT gl_LocalInvocationIndex
#define REDUCE_WRITES true
#define REDUCE_COUNT LANES
#endif
#define REDUCE_ADD(a, b) ((a) + (b))

REDUCE(workgroup_sum, REDUCE_ADD, subgroupAdd)
REDUCE(workgroup_max, max, subgroupMax)
