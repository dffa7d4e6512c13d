// Lines, areas and text.
#version 450
layout(set = 0, binding = 2) uniform sampler2D font;
layout(location = 0) in vec2 uv;
layout(location = 1) in vec4 colour;
layout(location = 0) out vec4 result;

void main() { result = colour * texture(font, uv); }
