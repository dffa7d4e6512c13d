# Sourced by ./run and ./test: installs the Debian packages that are missing, and builds.
# Nothing is done twice: installed packages are not asked for again, and the build knows what is up to date.

say() { echo "$*" >&2; }

# install PACKAGE...: those that are not there yet, as root or with sudo.
install() {
  missing=
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
  done
  [ -z "$missing" ] && return 0
  command -v apt-get >/dev/null || { say "Please install, or what your system calls them:$missing"; exit 1; }
  as_root=
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { say "Please install as root: apt-get install$missing"; exit 1; }
    as_root=sudo
  fi
  say "Installing Debian packages:$missing"
  $as_root apt-get -qq update >&2 || true
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >&2 ||
    { say "The installation failed; by hand: apt-get install$missing"; exit 1; }
}

build_packages="cmake ninja-build g++ glslc spirv-tools libvulkan-dev libfmt-dev nlohmann-json3-dev libcli11-dev libpcre2-dev libedit-dev libpng-dev pkg-config doctest-dev mesa-vulkan-drivers"
# The window is optional: spindle-viewer is built where these are.
viewer_packages="libimgui-dev libglfw3-dev libstb-dev fonts-roboto-unhinted fonts-dejavu-core"

# build PRESET [TARGET...]: configures once, then compiles what changed. Quiet when there is nothing to do.
build() {
  preset=$1
  shift
  folder=build
  [ "$preset" = release ] || folder=build-$preset
  # Anew when a target is unknown (a package was missing then) or when the checkout was moved.
  known=1
  for target in "$@"; do grep -qs "^build $target:" "$folder/build.ninja" || known=; done
  grep -qs "^CMAKE_HOME_DIRECTORY:INTERNAL=$(pwd -P)\$" "$folder/CMakeCache.txt" || { rm -rf "$folder"; known=; }
  if [ -z "$known" ]; then
    say "Configuring $folder"
    cmake --preset "$preset" >"$folder.log" 2>&1 || { cat "$folder.log" >&2; rm -f "$folder.log"; exit 1; }
    rm -f "$folder.log"
  fi
  if [ -t 2 ]; then
    cmake --build "$folder" --target "$@" >&2 || exit 1
  else
    say "Building (a few minutes the first time; the log is in $folder/build.log)"
    cmake --build "$folder" --target "$@" >"$folder/build.log" 2>&1 || { tail -50 "$folder/build.log" >&2; exit 1; }
  fi
}
