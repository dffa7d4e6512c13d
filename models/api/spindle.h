/* Spindle's public interface in C: devices, models and sessions behind opaque handles.
 *
 * Every function that can fail returns a spindle_status, whose value is the command's exit code too;
 * spindle_last_error() then has one line that says what went wrong. After a failure nothing has changed: no
 * handle was made, and a sequence is what it was before. Handles are freed in the reverse order of their
 * creation. A handle that is NULL is refused with SPINDLE_USAGE, or where a function returns no status, with
 * spindle_last_error() and an empty name or 0. One thread at a time may use a session; models and devices may
 * be shared by sessions of several threads as long as one of them works at a time. */
#ifndef SPINDLE_H
#define SPINDLE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(SPINDLE_BUILD)
#define SPINDLE_API __attribute__((visibility("default")))
#else
#define SPINDLE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum spindle_status {
  SPINDLE_OK = 0,
  SPINDLE_RUNTIME = 1,       /* device lost, disk full, a bug */
  SPINDLE_USAGE = 2,         /* an argument makes no sense, or does not fit the model */
  SPINDLE_MODEL_FILE = 3,    /* the file is damaged or not supported */
  SPINDLE_NO_DEVICE = 4,     /* no usable Vulkan device */
  SPINDLE_OUT_OF_MEMORY = 5, /* says what is needed and what is free */
  SPINDLE_INTERRUPTED = 130
} spindle_status;

typedef struct spindle_device spindle_device;
typedef struct spindle_model spindle_model;
typedef struct spindle_session spindle_session;

SPINDLE_API const char* spindle_version(void);
/* Why the last call of this thread failed; empty when none did. Good until the next call of this thread. */
SPINDLE_API const char* spindle_last_error(void);

/* name: a number or a part of the name as `spindle devices` lists them; NULL or "": the best device. The
 * environment variables SPINDLE_* of the command hold here too. */
SPINDLE_API spindle_status spindle_device_open(const char* name, spindle_device** device);
SPINDLE_API void spindle_device_close(spindle_device* device);
SPINDLE_API const char* spindle_device_name(const spindle_device* device);

/* progress may be NULL; called while weights are loaded, with bytes. */
typedef void (*spindle_progress)(void* user, uint64_t done, uint64_t all);
/* path: a GGUF file. The device must outlive the model. */
SPINDLE_API spindle_status spindle_model_open(spindle_device* device, const char* path,
                                              spindle_progress progress, void* user, spindle_model** model);
SPINDLE_API void spindle_model_close(spindle_model* model);

typedef struct spindle_model_info {
  const char *architecture, *name; /* live as long as the model */
  uint32_t n_layers, dim, n_heads, n_kv_heads, head_dim, vocab_size;
  uint32_t context_length; /* positions the model was trained for */
  uint64_t weight_bytes;   /* on the device */
} spindle_model_info;
SPINDLE_API spindle_model_info spindle_model_get_info(const spindle_model* model);

/* Text (UTF-8, n_bytes of it) to token ids. *n is the number of ids; when it exceeds `capacity` nothing is
 * written and the status is SPINDLE_USAGE, so that a first call with capacity 0 asks for the size.
 * parse_special: the text of control tokens gives these tokens; leave it off for text of strangers. BOS is
 * put in front where the file wants one and `add_bos` is set. */
SPINDLE_API spindle_status spindle_tokenize(const spindle_model* model, const char* text, size_t n_bytes,
                                            bool add_bos, bool parse_special, int32_t* ids, size_t capacity,
                                            size_t* n);
/* Ids to UTF-8 text, not terminated by NUL; *n_bytes and capacity as above. */
SPINDLE_API spindle_status spindle_detokenize(const spindle_model* model, const int32_t* ids, size_t n,
                                              char* text, size_t capacity, size_t* n_bytes);

typedef struct spindle_session_options {
  uint32_t context;                        /* positions of a sequence; 0: what the model was trained for */
  uint32_t n_sequences;                    /* at a time, 1 to 32 */
  uint32_t prefill_chunk;                  /* prompt tokens of one step */
  const char *cache_type_k, *cache_type_v; /* "f16", "f32", ...; NULL: f16 */
} spindle_session_options;
/* Defaults: 0, 1, 512, f16. */
SPINDLE_API spindle_session_options spindle_session_defaults(void);
/* The model must outlive the session. */
SPINDLE_API spindle_status spindle_session_open(spindle_model* model, spindle_session_options options,
                                                spindle_session** session);
SPINDLE_API void spindle_session_close(spindle_session* session);
SPINDLE_API uint32_t spindle_session_context(const spindle_session* session);

typedef struct spindle_sampling {
  float temperature;    /* 0: always the most probable token */
  uint32_t top_k;       /* 0: all */
  float top_p, min_p;   /* 1 and 0: all */
  float repeat_penalty; /* 1: none */
  uint32_t repeat_last_n;
  uint64_t seed;
  bool ignore_end; /* go on after an end token */
} spindle_sampling;
/* llama.cpp's: 0.8, 40, 0.95, 0.05, 1, 64, seed 0. */
SPINDLE_API spindle_sampling spindle_sampling_defaults(void);

/* A new, empty sequence; its number goes to *sequence. */
SPINDLE_API spindle_status spindle_sequence_open(spindle_session* session, spindle_sampling sampling,
                                                 int* sequence);
SPINDLE_API spindle_status spindle_sequence_close(spindle_session* session, int sequence);
/* Appends tokens to a sequence. */
SPINDLE_API spindle_status spindle_prefill(spindle_session* session, int sequence, const int32_t* ids,
                                           size_t n);
/* Logits of the token after the last prefill: vocab_size floats. */
SPINDLE_API spindle_status spindle_logits(spindle_session* session, float* logits, size_t capacity);

/* Called for each token, with the UTF-8 text that is complete now (n_bytes, maybe 0); false stops. */
typedef bool (*spindle_on_token)(void* user, int sequence, int32_t id, const char* text, size_t n_bytes);
/* Continues sequences together until each ends, is full, has max_tokens new tokens, or is stopped. */
SPINDLE_API spindle_status spindle_generate(spindle_session* session, const int* sequences, size_t n,
                                            uint32_t max_tokens, spindle_on_token on_token, void* user);

#ifdef __cplusplus
}
#endif
#endif
