// The C interface over the runtime: handles in, one status out, and no exception crosses the line.
#include "models/api/spindle.h"

#include <algorithm>
#include <map>
#include <new>

#include "models/session.h"
#include "runtime/device.h"
#include "runtime/error.h"

using namespace spindle;

struct spindle_device {
  Device device;
};

struct spindle_model {
  Model model;
};

struct spindle_session {
  Session session;
  std::map<int, Detokenizer> texts;  // by sequence: only whole characters go out
};

namespace {

thread_local std::string last_error;

spindle_status refuse(spindle_status status, const std::string& message) {
  try {
    last_error = message;
  } catch (...) {  // no memory even for the message
    last_error.clear();
  }
  return status;
}

template <class F>
spindle_status guarded(F&& f) {
  last_error.clear();
  try {
    f();
    return SPINDLE_OK;
  } catch (const Error& e) {
    return refuse(static_cast<spindle_status>(e.kind()), e.what());
  } catch (const std::bad_alloc&) {
    return refuse(SPINDLE_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& e) {
    return refuse(SPINDLE_RUNTIME, e.what());
  }
}

void require_pointer(const void* pointer, const char* what) {
  require(pointer != nullptr, ErrorKind::usage, "{} is NULL", what);
}

// n elements into a caller's array; *n is set even when they do not fit.
template <class From, class To>
void hand_out(const From& from, To* to, size_t capacity, size_t* n, const char* what) {
  *n = from.size();
  require(from.size() <= capacity, ErrorKind::usage, "{} {} do not fit into room for {}", from.size(), what,
          capacity);
  std::copy(from.begin(), from.end(), to);
}

DType cache_type(const char* name) {
  const std::string text = name ? name : "f16";
  const auto type = find_dtype(text);
  require(type && *type != DType::u32, ErrorKind::usage, "cache type '{}' is not known: f16, f32, ...", text);
  return *type;
}

}  // namespace

const char* spindle_version(void) { return SPINDLE_VERSION; }
const char* spindle_last_error(void) { return last_error.c_str(); }

spindle_status spindle_device_open(const char* name, spindle_device** device) {
  return guarded([&] {
    require_pointer(device, "device");
    DeviceOptions options = DeviceOptions::from_environment();
    if (name && *name) options.device = name;
    *device = new spindle_device{Device(options)};
  });
}

void spindle_device_close(spindle_device* device) { delete device; }
const char* spindle_device_name(const spindle_device* device) {
  const char* name = "";
  guarded([&] {
    require_pointer(device, "device");
    name = device->device.info().name.c_str();
  });
  return name;
}

spindle_status spindle_model_open(spindle_device* device, const char* path, spindle_progress progress,
                                  void* user, spindle_model** model) {
  return guarded([&] {
    require_pointer(device, "device");
    require_pointer(path, "path");
    require_pointer(model, "model");
    Weights::Progress forward;
    if (progress) forward = [=](uint64_t done, uint64_t all) { progress(user, done, all); };
    *model = new spindle_model{Model(device->device, std::string(path), forward)};
  });
}

void spindle_model_close(spindle_model* model) { delete model; }

spindle_model_info spindle_model_get_info(const spindle_model* model) {
  spindle_model_info info = {"", "", 0, 0, 0, 0, 0, 0, 0, 0};
  guarded([&] {
    require_pointer(model, "model");
    const Config& c = model->model.config();
    info = {c.architecture.c_str(),
            c.name.c_str(),
            c.n_layers,
            c.dim,
            c.max_heads(),
            c.max_kv_heads(),
            c.head_dim,
            c.vocab_size,
            c.context_length,
            model->model.weights().bytes()};
  });
  return info;
}

spindle_status spindle_tokenize(const spindle_model* model, const char* text, size_t n_bytes, bool add_bos,
                                bool parse_special, int32_t* ids, size_t capacity, size_t* n) {
  return guarded([&] {
    require_pointer(model, "model");
    require_pointer(n, "n");
    if (n_bytes > 0) require_pointer(text, "text");
    hand_out(model->model.tokenizer().encode({text ? text : "", n_bytes},
                                             {.add_bos = add_bos, .parse_special = parse_special}),
             ids, capacity, n, "ids");
  });
}

spindle_status spindle_detokenize(const spindle_model* model, const int32_t* ids, size_t n, char* text,
                                  size_t capacity, size_t* n_bytes) {
  return guarded([&] {
    require_pointer(model, "model");
    require_pointer(n_bytes, "n_bytes");
    if (n > 0) require_pointer(ids, "ids");
    const Tokenizer& tokenizer = model->model.tokenizer();
    for (size_t i = 0; i < n; i++)
      require(ids[i] >= 0 && ids[i] < tokenizer.n_tokens(), ErrorKind::usage,
              "id {} at {}: allowed are 0 to {}", ids[i], i, tokenizer.n_tokens() - 1);
    hand_out(tokenizer.decode({ids, n}), text, capacity, n_bytes, "bytes");
  });
}

spindle_session_options spindle_session_defaults(void) {
  const SessionOptions o;
  return {o.context, o.n_slots, o.prefill_chunk, nullptr, nullptr};
}

spindle_status spindle_session_open(spindle_model* model, spindle_session_options options,
                                    spindle_session** session) {
  return guarded([&] {
    require_pointer(model, "model");
    require_pointer(session, "session");
    SessionOptions o;
    o.context = options.context;
    o.n_slots = options.n_sequences;
    o.prefill_chunk = options.prefill_chunk;
    o.k_type = cache_type(options.cache_type_k);
    o.v_type = cache_type(options.cache_type_v);
    *session = new spindle_session{Session(model->model, o), {}};
  });
}

void spindle_session_close(spindle_session* session) { delete session; }
uint32_t spindle_session_context(const spindle_session* session) {
  uint32_t context = 0;
  guarded([&] {
    require_pointer(session, "session");
    context = session->session.context();
  });
  return context;
}

spindle_sampling spindle_sampling_defaults(void) {
  const Sampling s;
  return {s.temperature, s.top_k, s.top_p, s.min_p, s.repeat_penalty, s.repeat_last_n, s.seed, s.ignore_end};
}

spindle_status spindle_sequence_open(spindle_session* session, spindle_sampling sampling, int* sequence) {
  return guarded([&] {
    require_pointer(session, "session");
    require_pointer(sequence, "sequence");
    Sampling s;
    s.temperature = sampling.temperature;
    s.top_k = sampling.top_k;
    s.top_p = sampling.top_p;
    s.min_p = sampling.min_p;
    s.repeat_penalty = sampling.repeat_penalty;
    s.repeat_last_n = sampling.repeat_last_n;
    s.seed = sampling.seed;
    s.ignore_end = sampling.ignore_end;
    *sequence = session->session.open(s);
  });
}

spindle_status spindle_sequence_close(spindle_session* session, int sequence) {
  return guarded([&] {
    require_pointer(session, "session");
    session->session.close(sequence);
    session->texts.erase(sequence);
  });
}

spindle_status spindle_prefill(spindle_session* session, int sequence, const int32_t* ids, size_t n) {
  return guarded([&] {
    require_pointer(session, "session");
    if (n > 0) require_pointer(ids, "ids");
    session->session.prefill(sequence, {ids, n});
    const Model& model = session->session.model();
    const auto [text, is_new] = session->texts.try_emplace(sequence, model.tokenizer());
    text->second.skip({ids, n});
  });
}

spindle_status spindle_logits(spindle_session* session, float* logits, size_t capacity) {
  return guarded([&] {
    require_pointer(session, "session");
    size_t n = 0;
    hand_out(session->session.last_logits(), logits, capacity, &n, "logits");
  });
}

spindle_status spindle_generate(spindle_session* session, const int* sequences, size_t n, uint32_t max_tokens,
                                spindle_on_token on_token, void* user) {
  return guarded([&] {
    require_pointer(session, "session");
    require_pointer(sequences, "sequences");
    require(on_token != nullptr, ErrorKind::usage, "on_token is NULL");
    const Tokenizer& tokenizer = session->session.model().tokenizer();
    session->session.generate({sequences, n}, max_tokens, [&](int slot, int id) {
      Detokenizer& text = session->texts.try_emplace(slot, tokenizer).first->second;
      const std::string piece = tokenizer.is_end(id) ? text.flush() : text.push(id);
      return on_token(user, slot, id, piece.data(), piece.size());
    });
  });
}
