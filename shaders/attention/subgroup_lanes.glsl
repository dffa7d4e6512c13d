// Lanes of a cluster that exchange values by the subgroup's shuffles.
// Neighbours in a subgroup need not be neighbours in gl_LocalInvocationIndex.
#define LANE_INDEX (gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID)
#define EXCHANGE(value, bit) subgroupShuffleXor(value, bit)
#define BROADCAST(value, from) subgroupShuffle(value, gl_SubgroupInvocationID - lane + (from))
