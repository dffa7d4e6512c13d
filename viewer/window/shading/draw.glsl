// What the vertex and fragment shaders of the viewer share: one block of parameters.
layout(push_constant) uniform Parameters {
  vec2 scale, shift;    // pixels to clip space
  uint first_vertex;    // ImDrawVert
  uint first_index;     // 16 bit
  uint width, height;   // of a picture, cells
  float low, high;      // of its values: where colours begin and end
  uint mode;            // 0 linear, 1 logarithmic, 2 by rank
  uint missing_colour;  // of cells that are not a number
};
