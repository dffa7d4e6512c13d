// Spindle's public interface in C++17: owning handles and exceptions over spindle.h, in this header alone.
#ifndef SPINDLE_HPP
#define SPINDLE_HPP
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "spindle.h"

namespace spindle {

// what(): one line; status(): its kind, which is the command's exit code.
class Error : public std::runtime_error {
 public:
  explicit Error(spindle_status status) : std::runtime_error(spindle_last_error()), status_(status) {}
  spindle_status status() const { return status_; }

 private:
  spindle_status status_;
};

namespace detail {
inline void check(spindle_status status) {
  if (status != SPINDLE_OK) throw Error(status);
}
template <auto close>
struct Close {
  template <class T>
  void operator()(T* handle) const {
    close(handle);
  }
};
template <class T, auto close>
using Handle = std::unique_ptr<T, Close<close>>;
}  // namespace detail

class Device {
 public:
  // A number or a part of the name; empty: the best device.
  explicit Device(const std::string& name = "") {
    spindle_device* d = nullptr;
    detail::check(spindle_device_open(name.c_str(), &d));
    handle_.reset(d);
  }
  std::string name() const { return spindle_device_name(handle_.get()); }
  spindle_device* get() const { return handle_.get(); }

 private:
  detail::Handle<spindle_device, spindle_device_close> handle_;
};

class Model {
 public:
  using Progress = std::function<void(std::uint64_t done, std::uint64_t all)>;
  // The device must outlive the model.
  Model(const Device& device, const std::string& path, Progress progress = {}) {
    spindle_model* m = nullptr;
    const auto forward = [](void* user, std::uint64_t done, std::uint64_t all) {
      (*static_cast<Progress*>(user))(done, all);
    };
    detail::check(spindle_model_open(device.get(), path.c_str(),
                                     progress ? static_cast<spindle_progress>(forward) : nullptr, &progress,
                                     &m));
    handle_.reset(m);
  }
  spindle_model_info info() const { return spindle_model_get_info(handle_.get()); }
  std::vector<std::int32_t> tokenize(std::string_view text, bool add_bos = true,
                                     bool parse_special = false) const {
    std::vector<std::int32_t> ids(text.size() + 8);
    std::size_t n = 0;
    spindle_status status = SPINDLE_USAGE;
    for (int i = 0; i < 2 && status == SPINDLE_USAGE; i++) {
      if (n > ids.size()) ids.resize(n);
      status = spindle_tokenize(handle_.get(), text.data(), text.size(), add_bos, parse_special, ids.data(),
                                ids.size(), &n);
      if (status == SPINDLE_USAGE && n <= ids.size()) break;
    }
    detail::check(status);
    ids.resize(n);
    return ids;
  }
  std::string detokenize(const std::vector<std::int32_t>& ids) const {
    std::string text;
    std::size_t n = 0;
    spindle_status status = spindle_detokenize(handle_.get(), ids.data(), ids.size(), nullptr, 0, &n);
    if (status == SPINDLE_USAGE && n > 0) {
      text.resize(n);
      status = spindle_detokenize(handle_.get(), ids.data(), ids.size(), text.data(), n, &n);
    }
    detail::check(status);
    return text;
  }
  spindle_model* get() const { return handle_.get(); }

 private:
  detail::Handle<spindle_model, spindle_model_close> handle_;
};

class Session {
 public:
  // false stops the sequence.
  using OnToken = std::function<bool(int sequence, std::int32_t id, std::string_view text)>;

  // The model must outlive the session.
  explicit Session(const Model& model, spindle_session_options options = spindle_session_defaults())
      : vocab_size_(model.info().vocab_size) {
    spindle_session* s = nullptr;
    detail::check(spindle_session_open(model.get(), options, &s));
    handle_.reset(s);
  }
  std::uint32_t context() const { return spindle_session_context(handle_.get()); }
  int open(spindle_sampling sampling = spindle_sampling_defaults()) {
    int sequence = 0;
    detail::check(spindle_sequence_open(handle_.get(), sampling, &sequence));
    return sequence;
  }
  void close(int sequence) { detail::check(spindle_sequence_close(handle_.get(), sequence)); }
  void prefill(int sequence, const std::vector<std::int32_t>& ids) {
    detail::check(spindle_prefill(handle_.get(), sequence, ids.data(), ids.size()));
  }
  std::vector<float> logits() {
    std::vector<float> out(vocab_size_);
    detail::check(spindle_logits(handle_.get(), out.data(), out.size()));
    return out;
  }
  // An exception of on_token stops everything and comes out of here.
  void generate(const std::vector<int>& sequences, std::uint32_t max_tokens, const OnToken& on_token) {
    struct Call {
      const OnToken& on_token;
      std::exception_ptr error;
    } call{on_token, nullptr};
    const auto forward = [](void* user, int sequence, std::int32_t id, const char* text, std::size_t n) {
      auto& c = *static_cast<Call*>(user);
      if (c.error) return false;
      try {
        return c.on_token(sequence, id, std::string_view(text, n));
      } catch (...) {
        c.error = std::current_exception();
        return false;
      }
    };
    const spindle_status status =
        spindle_generate(handle_.get(), sequences.data(), sequences.size(), max_tokens, forward, &call);
    if (call.error) std::rethrow_exception(call.error);
    detail::check(status);
  }
  // The whole way from a prompt to its continuation.
  std::string continue_text(const Model& model, std::string_view prompt, std::uint32_t max_tokens,
                            spindle_sampling sampling = spindle_sampling_defaults()) {
    const int sequence = open(sampling);
    std::string text;
    try {
      prefill(sequence, model.tokenize(prompt, true, true));
      generate({sequence}, max_tokens, [&](int, std::int32_t, std::string_view piece) {
        text += piece;
        return true;
      });
    } catch (...) {
      spindle_sequence_close(handle_.get(), sequence);
      throw;
    }
    close(sequence);
    return text;
  }

 private:
  detail::Handle<spindle_session, spindle_session_close> handle_;
  std::size_t vocab_size_;
};

}  // namespace spindle
#endif
