// `spindle-viewer`: the window, or the same frames without one.
#include <imgui_impl_glfw.h>

#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "app/command.h"
#include "models/session_plan.h"
#include "viewer/window/script.h"
#include "viewer/window/target.h"
#define GLFW_INCLUDE_NONE
#include <GLFW/glfw3.h>

namespace spindle {
namespace {

struct Flags {
  DeviceFlags device;
  ModelFlags model;
  SamplingFlags sampling;
  std::string prompt, size = "1280x720", screenshot, script, theme = "dark", panel = "map", folder = ".";
  std::vector<std::string> captures;
  int n = 64;
  double scale = 0, frame_ms = 0;
  bool headless = false, times = false, no_model = false;
};

std::pair<uint32_t, uint32_t> size_of(const std::string& text) {
  unsigned width = 0, height = 0;
  char rest = 0;
  require(std::sscanf(text.c_str(), "%ux%u%c", &width, &height, &rest) == 2 && width >= 320 &&
              height >= 200 && width <= 8192 && height <= 8192,
          ErrorKind::usage, "--size {}: allowed are 320x200 to 8192x8192", text);
  return {width, height};
}

// Everything but where frames go.
struct Viewer {
  Viewer(const Flags& flags, const DeviceOptions& options) : device(options) {
    const bool captures_only = !flags.captures.empty() && flags.model.path.empty();
    if (!captures_only && !flags.no_model) {
      Progress loading("loading");
      model = std::make_unique<Model>(device, flags.model.open(device),
                                      [&](uint64_t done, uint64_t all) { loading.update(done, all); });
      loading.finish();
      describe(*model);
    }
    Sampling sampling = flags.sampling.sampling;
    sampling.seed = flags.sampling.seed < 0 ? 1 : static_cast<uint64_t>(flags.sampling.seed);
    if (!flags.headless) sampling = flags.sampling.resolve();
    const double frame_ms = flags.frame_ms > 0 ? flags.frame_ms : device.caps().software ? 33 : 16;
    engine = std::make_unique<Engine>(device, model.get(), flags.model.session(), sampling, frame_ms / 4);
    state = std::make_unique<State>(*engine);
    state->piece_bound_ms = frame_ms / 4;
    state->drawing_bound_ms = frame_ms - frame_ms / 4;
    state->sampling = sampling;
    state->n_tokens = flags.n;
    state->ui.folder = flags.folder;
    state->ui.still = flags.headless && !flags.times;
    state->ui.theme = flags.theme == "light" ? Theme::bright() : Theme::dark();
    for (size_t i = 0; i < kPanelNames.size(); i++) {
      std::string name = kPanelNames[i];
      name[0] = static_cast<char>(name[0] - 'A' + 'a');
      if (name == flags.panel) state->panel = static_cast<Panel>(i);
    }
    start_rotary(*state, model.get());
    for (const std::string& path : flags.captures) engine->open(path);
    if (!flags.prompt.empty()) {
      state->prompt = flags.prompt;
      state->welcome = false;
      engine->prompt(flags.prompt, static_cast<uint32_t>(flags.n));
    }
    if (!flags.captures.empty()) state->welcome = false;
  }

  static void start_rotary(State& s, const Model* model) {
    RotaryState& r = s.rotary;
    r.model = {128, 128, 10000, 4096};
    RotaryMethod own;
    if (model && model->config().n_rot > 0) {
      const Config& c = model->config();
      r.model = {c.head_dim, c.n_rot, c.rope_base, c.context_length};
      own.request = c.rope;
    }
    if (model) {
      const Config& c = model->config();
      s.bias.heads = static_cast<int>(c.n_heads.at(0));
      if (c.max_alibi_bias.value_or(0) > 0) s.bias.max_bias = *c.max_alibi_bias;
      s.bias.buckets = static_cast<int>(c.relative_buckets);
      s.bias.max_distance = static_cast<int>(c.relative_max_distance);
    }
    if (!own.request.method) own.request.method = RopeMethod::none;
    r.methods.push_back(own);
    r.position = r.model.context_length / 2.0;
    r.length = r.model.context_length * 8.0;
    add_method(s, RopeMethod::ntk);
    add_method(s, RopeMethod::yarn);
  }

  // Between the back end's new frame and drawing.
  void build(ImVec2 size, Painter& painter) {
    Ui& ui = state->ui;
    if (ui.fonts_stale) {
      ui.fonts_stale = false;
      make_fonts({16 * ui.scale, {ui.characters.begin(), ui.characters.end()}});
      painter.take_fonts();
      apply(ui.theme, ui.scale);
    }
    if (size.x > 0) ImGui::GetIO().DisplaySize = size;
    ImGui::NewFrame();
    draw_window(*state);
    ImGui::Render();
  }

  void drew(uint64_t ns) {
    if (ns == 0) return;  // nothing was stamped yet
    state->drawing_ms = static_cast<double>(ns) / 1e6;
    state->drawing.add(state->drawing_ms, since_frame.seconds() * 1e3);
    since_frame = {};
  }

  ImVec4 background() const { return vector_of(state->ui.theme.background); }

  // Files that this frame asked for.
  void save(const std::function<Pixels()>& pixels) {
    Ui& ui = state->ui;
    if (ui.shots.empty()) return;
    const Pixels all = pixels();
    for (const Ui::Shot& shot : std::exchange(ui.shots, {})) try {
        const auto at = [](float x) { return static_cast<uint32_t>(std::max(0.0f, x)); };
        const ImVec2 size = shot.box.size();
        write_png(shot.path, size.x > 0 ? all.cut(at(shot.box.from.x), at(shot.box.from.y), at(size.x + 1),
                                                  at(size.y + 1))
                                        : all);
        ui.notice = fmt::format("saved {}", std::filesystem::path(shot.path).filename().string());
      } catch (const Error& e) {
        ui.notice = e.what();
      }
  }

  Device device;
  std::unique_ptr<Model> model;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<State> state;
  Stopwatch since_frame;
};

struct Context {
  Context() {
    ImGui::CreateContext();
    ImGuiIO& io = ImGui::GetIO();
    io.IniFilename = nullptr;
    io.BackendFlags |= ImGuiBackendFlags_RendererHasVtxOffset;
    make_fonts({});
  }
  ~Context() { ImGui::DestroyContext(); }
};

// Said before a session that may take long, not after it.
void prepare_folders(const Flags& flags) {
  namespace fs = std::filesystem;
  const auto prepare = [](const char* flag, const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    require(fs::is_directory(folder, error), ErrorKind::usage, "{} {}: the folder cannot be made", flag,
            folder.string());
    require(::access(folder.c_str(), W_OK) == 0, ErrorKind::usage, "{} {}: the folder cannot be written to",
            flag, folder.string());
  };
  if (!flags.script.empty()) prepare("--out", flags.folder);
  if (!flags.screenshot.empty()) prepare("--screenshot", fs::absolute(flags.screenshot).parent_path());
}

void check_validation(const Device& device, const DeviceOptions& options) {
  const uint64_t n = const_cast<Device&>(device).instance().n_validation_messages();
  require(!options.validation || n == 0, "{} messages of the validation layer", n);
}

void play(Viewer& viewer, const Flags& flags, const std::function<void()>& frame,
          const std::function<void(const std::string&)>& picture) {
  ScriptHost host{*viewer.state, frame, picture};
  settle(host);
  if (!flags.script.empty()) run_script(host, flags.script);
  if (!flags.screenshot.empty()) picture(flags.screenshot);
}

void run_headless(const Flags& flags, const DeviceOptions& options) {
  const auto [width, height] = size_of(flags.size);
  const Context context;
  ImGuiIO& io = ImGui::GetIO();
  io.DeltaTime = 1.0f / 60;
  io.ConfigInputTextCursorBlink = false;
  prepare_input();
  Viewer viewer(flags, options);
  viewer.state->ui.scale = flags.scale > 0 ? static_cast<float>(flags.scale) : 1;
  Offscreen target(viewer.device, width, height);
  State& s = *viewer.state;
  const auto frame = [&] {
    viewer.build({static_cast<float>(width), static_cast<float>(height)}, target.painter());
    target.draw(*ImGui::GetDrawData(), viewer.background());
    viewer.drew(target.painter().gpu_ns(0));
    viewer.save([&] { return target.pixels(); });
  };
  play(viewer, flags, frame, [&](const std::string& path) { write_png(path, target.pixels()); });
  if (flags.times) {
    const auto list = [](const PieceTimes& p, const char* what, double bound) {
      return fmt::format(
          "{} {} in {:.2f} ms, {:.2f} by the clock: half of them within {:.2f}, 99 of 100 within "
          "{:.2f}, 999 of 1000 within {:.2f}, all within {:.2f}; {} above {:.2f}",
          p.n, what, p.all_ms, p.all_clock_ms, p.quantile(0.5), p.quantile(0.99), p.quantile(0.999),
          p.longest_ms, p.above(bound), bound);
    };
    say("{}", list(s.drawing, "frames drawn", s.drawing_bound_ms));
    say("{}", list(s.now->pieces, "pieces of maps", s.piece_bound_ms));
  }
  require(s.now->error.empty(), s.now->error_kind, "{}", s.now->error);
  check_validation(viewer.device, options);
}

void run_window(const Flags& flags, const DeviceOptions& base) {
  const auto [width, height] = size_of(flags.size);
  const WindowSystem system;
  const DeviceOptions options = system.options(base);
  const Context context;
  Viewer viewer(flags, options);
  State& s = *viewer.state;
  Window window(viewer.device, system, width, height, "Spindle");
  ImGui_ImplGlfw_InitForVulkan(window.handle(), true);
  const bool scripted = !flags.script.empty() || !flags.screenshot.empty();
  std::unique_ptr<Offscreen> copy;
  const auto pixels = [&] {
    const ImVec2 size = ImGui::GetIO().DisplaySize;
    copy = std::make_unique<Offscreen>(viewer.device, static_cast<uint32_t>(size.x),
                                       static_cast<uint32_t>(size.y));
    copy->draw(*ImGui::GetDrawData(), viewer.background());
    return copy->pixels();
  };
  ImVec2 mouse = {-1, -1};
  const auto frame = [&] {
    glfwPollEvents();
    s.ui.scale = flags.scale > 0 ? static_cast<float>(flags.scale) : s.ui.scale;
    const ImVec2 wanted_mouse = ImGui::GetIO().MousePos;
    const bool down = ImGui::GetIO().MouseDown[0];
    ImGui_ImplGlfw_NewFrame();
    if (scripted) {  // the script's mouse, not the screen's
      if (wanted_mouse.x > -1e6f) mouse = wanted_mouse;
      put_mouse(mouse.x, mouse.y);
      put_button(0, down);
    }
    viewer.build({0, 0}, window.painter());
    window.draw(*ImGui::GetDrawData(), viewer.background());
    uint64_t ns = 0;
    for (uint32_t i = 0; i < Painter::kFrames; i++) ns = std::max(ns, window.painter().gpu_ns(i));
    viewer.drew(ns);
    viewer.save(pixels);
  };
  const float scale = window.content_scale();
  if (flags.scale <= 0) s.ui.scale = scale;
  if (scripted) {
    play(viewer, flags, frame, [&](const std::string& path) { write_png(path, pixels()); });
  } else {
    while (!window.closing()) {
      if (!window.visible()) {
        glfwWaitEventsTimeout(0.1);
        continue;
      }
      if (viewer.engine->idle() && s.ui.frame > 10) glfwWaitEventsTimeout(0.2);
      frame();
    }
  }
  ImGui_ImplGlfw_Shutdown();
  viewer.engine.reset();
  check_validation(viewer.device, options);
}

int run(int argc, char** argv) {
  CLI::App app("Look at attention and rotary positions while a model reads and writes.", "spindle-viewer");
  Flags flags;
  app.set_version_flag("--version", "spindle-viewer " SPINDLE_VERSION);
  flags.model.add(app);
  flags.sampling.add(app);
  flags.device.add(app);
  auto* group = app.add_option_group("Window");
  group->add_option("-p,--prompt", flags.prompt, "begin with this text");
  group->add_option("-n,--predict", flags.n, "tokens to generate for a prompt")
      ->capture_default_str()
      ->check(in_range(1, 1 << 20));
  group->add_option("--capture", flags.captures, "open capture files; without -m no model is loaded");
  group->add_option("--size", flags.size, "of the window, WIDTHxHEIGHT")->capture_default_str();
  group->add_option("--scale", flags.scale, "of text and lines; 0: the screen's")->check(in_range(0, 4));
  group->add_option("--theme", flags.theme, "")
      ->check(CLI::IsMember({"dark", "light"}))
      ->capture_default_str();
  group->add_option("--panel", flags.panel, "map, tokens, heads, rotary, bias, cache, time or captures")
      ->capture_default_str();
  group
      ->add_option("--frame-ms", flags.frame_ms,
                   "device time that a frame may take, a quarter of it for maps; 0: 16, or 33 where a "
                   "processor draws")
      ->check(in_range(0, 1000))
      ->capture_default_str();
  group->add_flag("--headless", flags.headless, "no window: frames into an image");
  group->add_option("--screenshot", flags.screenshot, "write the last frame to a PNG file, and end");
  group->add_option("--script", flags.script, "play a scripted session, and end; see viewer/window/script.h");
  group->add_option("--out", flags.folder, "folder of screenshots and exports; made where it is missing")
      ->capture_default_str();
  group->add_flag("--times", flags.times,
                  "show measured times in headless frames too: they differ from run to run");
  group->add_flag("--no-model", flags.no_model, "frequencies and captures only");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    fail(ErrorKind::usage, "{} (see spindle-viewer --help)", e.what());
  }
  require(!flags.headless || !flags.screenshot.empty() || !flags.script.empty(), ErrorKind::usage,
          "--headless: say what to do with --screenshot FILE.png or --script FILE");
  require(flags.frame_ms == 0 || flags.frame_ms >= 2, ErrorKind::usage,
          "--frame-ms {}: allowed are 0 and 2 to 1000", flags.frame_ms);
  prepare_folders(flags);
  DeviceOptions options = flags.device.options();
  options.validation = DeviceOptions::from_environment().validation;
  if (flags.headless) run_headless(flags, options);
  else run_window(flags, options);
  return 0;
}

}  // namespace
}  // namespace spindle

int main(int argc, char** argv) {
  try {
    return spindle::run(argc, argv);
  } catch (const spindle::Error& e) {
    fmt::print(stderr, "spindle-viewer: {}\n", e.what());
    return static_cast<int>(e.kind());
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "spindle-viewer: out of memory\n");
    return static_cast<int>(spindle::ErrorKind::out_of_memory);
  } catch (const std::exception& e) {
    fmt::print(stderr, "spindle-viewer: {}\n", e.what());
    return static_cast<int>(spindle::ErrorKind::runtime);
  }
}
