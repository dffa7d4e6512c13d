// The rotary plan of a session: what the file says, what a person says and how long the context is, put
// together in one place.
#ifndef SPINDLE_MODELS_POSITIONS_CHOICE_H
#define SPINDLE_MODELS_POSITIONS_CHOICE_H
#include "models/positions_file.h"

namespace spindle {

// What the person says goes before what the file says; attention scales multiply. Another method than the
// file's replaces that with its parameters and its frequency factors; base and original context stay.
RopeRequest override_rope(const RopeRequest& file, const RopeRequest& person);

// - A method of the person's that extends by a factor, without one: the context over the original context.
// - rerope, leaky-rerope, self-extend and dca change distances alone: they keep the frequencies and the
//   attention factor that the file asks for, and their original context is the trained one.
// Throws ErrorKind::usage for what makes no sense.
RopePlan choose_rope(const FileRope& file, uint32_t context, const RopeRequest& person = {});

}  // namespace spindle
#endif
