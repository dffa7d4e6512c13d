/* Continues a text through the C interface. */
#include <spindle.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool print(void* user, int sequence, int32_t id, const char* text, size_t n_bytes) {
  (void)user, (void)sequence, (void)id;
  fwrite(text, 1, n_bytes, stdout);
  return true;
}

static void check(spindle_status status) {
  if (status == SPINDLE_OK) return;
  fprintf(stderr, "%s\n", spindle_last_error());
  exit(status);
}

int main(int argc, char** argv) {
  if (argc < 3) return SPINDLE_USAGE;
  spindle_device* device;
  spindle_model* model;
  spindle_session* session;
  check(spindle_device_open(NULL, &device));
  if (spindle_model_open(device, "/nonexistent.gguf", NULL, NULL, &model) != SPINDLE_MODEL_FILE ||
      !strstr(spindle_last_error(), "nonexistent"))
    return SPINDLE_RUNTIME;
  if (*spindle_device_name(NULL) || !strstr(spindle_last_error(), "device is NULL") ||
      spindle_model_get_info(NULL).n_layers || !strstr(spindle_last_error(), "model is NULL") ||
      spindle_session_context(NULL) || !strstr(spindle_last_error(), "session is NULL"))
    return SPINDLE_RUNTIME;
  check(spindle_model_open(device, argv[1], NULL, NULL, &model));
  check(spindle_session_open(model, spindle_session_defaults(), &session));
  size_t n = 0;
  if (spindle_tokenize(model, argv[2], strlen(argv[2]), true, true, NULL, 0, &n) != SPINDLE_USAGE)
    return SPINDLE_RUNTIME;
  int32_t* ids = malloc(n * sizeof *ids);
  check(spindle_tokenize(model, argv[2], strlen(argv[2]), true, true, ids, n, &n));
  spindle_sampling sampling = spindle_sampling_defaults();
  sampling.temperature = 0;
  int sequence;
  check(spindle_sequence_open(session, sampling, &sequence));
  check(spindle_prefill(session, sequence, ids, n));
  check(spindle_generate(session, &sequence, 1, 20, print, NULL));
  puts("");
  free(ids);
  spindle_session_close(session);
  spindle_model_close(model);
  spindle_device_close(device);
  return 0;
}
