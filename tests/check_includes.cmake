# Fails when an include points against the arrows runtime <- shaders <- models <- viewer <- app. Of the viewer, app
# sees the data: what draws includes ImGui, which the command is built without.
set(forbidden_runtime "shaders/|models/|app/|viewer/|tests/")
set(forbidden_shaders "models/|app/|viewer/|tests/")
set(forbidden_models "app/|viewer/|tests/|vulkan/|runtime/vulkan.h|runtime/handles.h")
set(forbidden_viewer "app/|tests/")
set(forbidden_app "tests/|vulkan/|runtime/vulkan.h|runtime/handles.h|imgui|GLFW/")
foreach(folder runtime shaders models viewer app)
  file(GLOB_RECURSE files ${ROOT}/${folder}/*.h ${ROOT}/${folder}/*.cpp ${ROOT}/${folder}/*.comp ${ROOT}/${folder}/*.glsl)
  list(FILTER files EXCLUDE REGEX "_test\\.(cpp|h)$|/viewer/window/")  # tests and the window see all
  foreach(file ${files})
    file(STRINGS ${file} bad REGEX "^ *# *include *[<\"](${forbidden_${folder}})")
    if(bad)
      message(FATAL_ERROR "${file} includes against the direction of the layers: ${bad}")
    endif()
  endforeach()
endforeach()
