// Compares expected.json with what @huggingface/jinja makes of the corpus:  node oracle.mjs FOLDER_WITH_NODE_MODULES
// Differences are its own ways or its gaps: they are listed, and jinja2 decides.
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
const here = dirname(fileURLToPath(import.meta.url));
let jinja;
try {
  const require = createRequire(pathToFileURL(join(process.argv[2] ?? ".", "x.js")));
  jinja = await import(pathToFileURL(require.resolve("@huggingface/jinja")));
} catch {
  console.log("SKIPPED: @huggingface/jinja is absent");
  process.exit(0);
}
const load = (name) => JSON.parse(readFileSync(join(here, name), "utf8"));
const conversations = load("conversations.json"), expected = load("expected.json");
let equal = 0, errors = 0, different = [];
for (const [name, want] of Object.entries(expected)) {
  const [file, conversation] = name.split("/");
  let got;
  try {
    const Template = jinja.Template ?? jinja.default.Template;
    const t = new Template(readFileSync(join(here, "templates", file + ".jinja"), "utf8"));
    got = { text: t.render({ ...conversations[conversation], bos_token: "<s>", eos_token: "</s>" }) };
  } catch (e) {
    got = { error: String(e.message) };
  }
  if ("text" in want && got.text === want.text) equal++;
  else if ("error" in want && "error" in got) errors++;
  else different.push(name + (got.error ? ": " + got.error.slice(0, 80) : ""));
}
console.log(`${equal} equal, ${errors} errors in both, ${different.length} different`);
for (const d of different) console.log("  " + d);
