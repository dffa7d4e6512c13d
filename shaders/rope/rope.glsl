// A pair's rotation by a position, see rope.h: the same bits in every kernel.
// Needs vec2 rope_entry(uint at): (cos, sin) of the table.
uint rope_position(uint position, uint modulo, uint divide, uint offset, uint cap) {
  return min((modulo != 0 ? position % modulo : position) / divide + offset, cap);
}

// The pair turned by an angle, (cos, sin); an angle turned by another one is their sum.
vec2 rope_turn(vec2 pair, vec2 angle) {
  precise const vec2 turned = vec2(pair.x * angle.x - pair.y * angle.y, pair.x * angle.y + pair.y * angle.x);
  return turned;
}

vec2 rope_angle(uint at, uint pair, uint n_pairs) {
  const vec2 low = rope_entry(at % ROPE_STEP * n_pairs + pair);
  const vec2 middle = rope_entry((ROPE_STEP + at / ROPE_STEP % ROPE_STEP) * n_pairs + pair);
  const vec2 angle = rope_turn(low, middle);
  if (at < ROPE_STEP * ROPE_STEP) return angle;
  return rope_turn(angle, rope_entry((2 * ROPE_STEP + at / (ROPE_STEP * ROPE_STEP)) * n_pairs + pair));
}
