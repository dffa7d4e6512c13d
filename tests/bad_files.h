// Small sound GGUF files, and bad ones made of them: one for each way of being bad that files in the field
// have.
#ifndef SPINDLE_TESTS_BAD_FILES_H
#define SPINDLE_TESTS_BAD_FILES_H
#include <cstddef>
#include <string>
#include <vector>

#include "models/gguf.h"
#include "tests/gguf_writer.h"

namespace spindle::test {

using Bytes = std::vector<std::byte>;
using Shards = std::vector<Bytes>;  // one for a file that is not split

GgufWriter tiny_vocabulary();  // a tokenizer of seven tokens, no tensors
GgufWriter tiny_model();       // llama, one layer of 16, with that vocabulary; its output matrix comes first
// The same model in three files: all of the metadata in the first, as gguf-split does it.
std::vector<GgufWriter> tiny_split();

Shards finish(const std::vector<GgufWriter>& writers);
// As Gguf::parse takes them; they are called t.gguf, or t-00001-of-00003.gguf and so on.
std::vector<InputFile> as_files(const Shards& shards);

struct BadFile {
  std::string id;  // G01 to G38: the row of ../shared/notes/robustness.md
  Shards shards;
  std::string expected;  // words of the error, or of a warning
  enum class When { opened, loaded, tokenizer, run, warning } when = When::opened;
};
std::vector<BadFile> bad_files();

// Everything that loading does before it takes memory on a device; throws as it would.
void load_without_device(const Gguf& file);

}  // namespace spindle::test
#endif
