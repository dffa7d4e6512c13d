// Reads bindings, access, push constants and specialization constants out of SPIR-V.
// Word layouts: SPIR-V specification, section 3.
#include <algorithm>
#include <map>
#include <set>

#include "runtime/kernel.h"

namespace spindle {
namespace {

enum Op : uint32_t {
  kEntryPoint = 15,
  kCapability = 17,
  kTypeInt = 21,
  kTypeFloat = 22,
  kTypeVector = 23,
  kTypeArray = 28,
  kTypeRuntimeArray = 29,
  kTypeStruct = 30,
  kTypePointer = 32,
  kConstant = 43,
  kVariable = 59,
  kDecorate = 71,
  kMemberDecorate = 72,
};
enum Decoration : uint32_t {
  kSpecId = 1,
  kNonWritable = 24,
  kNonReadable = 25,
  kBinding = 33,
  kDescriptorSet = 34,
  kOffset = 35,
};
enum Storage : uint32_t { kUniformConstant = 0, kUniform = 2, kPushConstant = 9, kStorageBuffer = 12 };

struct Type {
  uint32_t op = 0;
  std::vector<uint32_t> operands;
};

struct Module {
  std::map<uint32_t, Type> types;
  std::map<uint32_t, uint32_t> constants;                        // id -> first word
  std::map<uint32_t, std::map<uint32_t, uint32_t>> decorations;  // id -> decoration -> operand
  std::map<uint32_t, std::map<uint32_t, std::map<uint32_t, uint32_t>>> members;
  struct Variable {
    uint32_t id, type, storage;
  };
  std::vector<Variable> variables;
  std::vector<uint32_t> capabilities;
  int entry_points = 0;

  bool has(uint32_t id, Decoration d) const {
    const auto it = decorations.find(id);
    return it != decorations.end() && it->second.count(d);
  }
  uint32_t get(uint32_t id, Decoration d) const { return decorations.at(id).at(d); }

  // Debian 12's glslc decorates the members of the block, newer ones the variable too: accept either.
  bool decorated(const Variable& v, uint32_t block, Decoration d) const {
    if (has(v.id, d)) return true;
    const auto it = members.find(block);
    const size_t n = types.at(block).operands.size();
    for (uint32_t m = 0; m < n; m++)
      if (it == members.end() || !it->second.count(m) || !it->second.at(m).count(d)) return false;
    return n > 0;
  }

  uint32_t bytes(uint32_t id) const {
    const Type& t = types.at(id);
    switch (t.op) {
      case kTypeInt:
      case kTypeFloat:
        return t.operands[0] / 8;
      case kTypeVector:
        return bytes(t.operands[0]) * t.operands[1];
      case kTypeArray:
        return bytes(t.operands[0]) * constants.at(t.operands[1]);
      case kTypeStruct: {
        uint32_t end = 0;
        for (uint32_t m = 0; m < t.operands.size(); m++)
          end = std::max(end, members.at(id).at(m).at(kOffset) + bytes(t.operands[m]));
        return end;
      }
      default:
        return 0;
    }
  }
};

Module parse(const Program& program) {
  const std::span<const uint32_t> code = program.code;
  require(code.size() > 5 && code[0] == 0x07230203, "{}: not SPIR-V", program.name);
  Module m;
  for (size_t at = 5; at < code.size();) {
    const uint32_t op = code[at] & 0xffff, words = code[at] >> 16;
    require(words > 0 && at + words <= code.size(), "{}: SPIR-V ends inside an instruction at word {}",
            program.name, at);
    const auto w = code.subspan(at, words);
    at += words;
    switch (op) {
      case kEntryPoint:
        m.entry_points++;
        break;
      case kCapability:
        m.capabilities.push_back(w[1]);
        break;
      case kTypeInt:
      case kTypeFloat:
      case kTypeVector:
      case kTypeArray:
      case kTypeRuntimeArray:
      case kTypeStruct:
      case kTypePointer:
        m.types[w[1]] = {op, {w.begin() + 2, w.end()}};
        break;
      case kConstant:
        m.constants[w[2]] = w[3];
        break;
      case kVariable:
        m.variables.push_back({w[2], w[1], w[3]});
        break;
      case kDecorate:
        m.decorations[w[1]][w[2]] = words > 3 ? w[3] : 0;
        break;
      case kMemberDecorate:
        m.members[w[1]][w[2]][w[3]] = words > 4 ? w[4] : 0;
        break;
      default:
        break;
    }
  }
  return m;
}

}  // namespace

Reflection reflect(const Program& program) {
  const Module m = parse(program);
  require(m.entry_points == 1, "{}: {} entry points, expected 1", program.name, m.entry_points);
  Reflection r;
  r.capabilities = m.capabilities;
  std::map<uint32_t, BindingReflection> bindings;
  for (const Module::Variable& v : m.variables) {
    if (v.storage != kUniformConstant && v.storage != kUniform && v.storage != kPushConstant &&
        v.storage != kStorageBuffer)
      continue;
    const uint32_t block = m.types.at(v.type).operands[1];
    if (v.storage == kPushConstant) {
      r.push_constant_bytes = m.bytes(block);
      continue;
    }
    require(v.storage == kStorageBuffer, "{}: only storage buffers and push constants are bound",
            program.name);
    require(m.get(v.id, kDescriptorSet) == 0, "{}: only descriptor set 0 is bound", program.name);
    BindingReflection& b = bindings[m.get(v.id, kBinding)];  // two views of one binding merge
    b.index = m.get(v.id, kBinding);
    b.reads |= !m.decorated(v, block, kNonReadable);
    b.writes |= !m.decorated(v, block, kNonWritable);
  }
  for (const auto& [index, binding] : bindings) r.bindings.push_back(binding);
  std::set<uint32_t> ids;
  for (const auto& [id, decorations] : m.decorations)
    if (decorations.count(kSpecId)) ids.insert(decorations.at(kSpecId));
  r.constant_ids.assign(ids.begin(), ids.end());
  return r;
}

}  // namespace spindle
