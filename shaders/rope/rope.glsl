// A pair's rotation by a position, see rope.h: the same bits in every kernel.
// Needs vec2 rope_entry(uint at): (cos, sin) of the table; with ROPE_FOURS, for four elements at once, also
// vec4 rope_entries(uint at): entries 2 at and 2 at + 1.
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

#ifdef ROPE_FOURS
struct RopeAngles {
  vec4 cosine, sine;  // of the pairs of four elements
};

RopeAngles rope_row(uint row, uint pair, uint n_pairs, bool interleaved) {
  const uint at = (row * n_pairs + pair) / 2;
  const vec4 a = rope_entries(at);
  if (interleaved) return RopeAngles(a.xxzz, a.yyww);
  const vec4 b = rope_entries(at + 1);
  return RopeAngles(vec4(a.xz, b.xz), vec4(a.yw, b.yw));
}

RopeAngles rope_sum(RopeAngles a, RopeAngles b) {
  precise const vec4 cosine = a.cosine * b.cosine - a.sine * b.sine, sine = a.cosine * b.sine + a.sine * b.cosine;
  return RopeAngles(cosine, sine);
}

// Of pairs pair, pair + 1 (interleaved: each twice) or to pair + 3.
RopeAngles rope_angles(uint at, uint pair, uint n_pairs, bool interleaved) {
  RopeAngles angles = rope_row(at % ROPE_STEP, pair, n_pairs, interleaved);
  angles = rope_sum(angles, rope_row(ROPE_STEP + at / ROPE_STEP % ROPE_STEP, pair, n_pairs, interleaved));
  if (at >= ROPE_STEP * ROPE_STEP)
    angles = rope_sum(angles, rope_row(2 * ROPE_STEP + at / (ROPE_STEP * ROPE_STEP), pair, n_pairs, interleaved));
  return angles;
}
#endif
