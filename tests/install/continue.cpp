// Continues a text through the C++ interface, and checks that errors come as exceptions with their kind.
#include <cstdio>
#include <spindle.hpp>

int main(int argc, char** argv) {
  if (argc < 3) return SPINDLE_USAGE;
  try {
    const spindle::Device device;
    try {
      spindle::Model(device, "/nonexistent.gguf");
      return SPINDLE_RUNTIME;
    } catch (const spindle::Error& e) {
      if (e.status() != SPINDLE_MODEL_FILE) throw;
    }
    const spindle::Model model(device, argv[1]);
    spindle::Session session(model);
    const auto ids = model.tokenize(argv[2]);
    if (model.tokenize(model.detokenize(ids)) != ids) return SPINDLE_RUNTIME;
    spindle_sampling sampling = spindle_sampling_defaults();
    sampling.temperature = 0;
    std::printf("%s\n", session.continue_text(model, argv[2], 20, sampling).c_str());
    // A prompt that does not fit leaves the session usable.
    const int sequence = session.open();
    try {
      session.prefill(sequence, std::vector<std::int32_t>(session.context() + 1, 1));
      return SPINDLE_RUNTIME;
    } catch (const spindle::Error& e) {
      if (e.status() != SPINDLE_USAGE) throw;
    }
    session.prefill(sequence, ids);
    return session.logits().size() == model.info().vocab_size ? 0 : SPINDLE_RUNTIME;
  } catch (const spindle::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return e.status();
  }
}
