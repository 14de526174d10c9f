// A stand-in for libnvrtc.so.12, for tests: what it "compiles" is loaded by mock_driver.cpp only. Units are in that library already; another source is
// compiled by the machine's C++ compiler, with the files in the folder MOCK_SOURCES.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

struct Program {
  std::string name, source, image, log;
};

#define API extern "C" __attribute__((visibility("default"))) int

API nvrtcVersion(int *major, int *minor) {
  *major = 12;
  *minor = 4;
  return 0;
}
extern "C" __attribute__((visibility("default"))) const char *nvrtcGetErrorString(int) { return "said the mock compiler"; }
API nvrtcCreateProgram(Program **program, const char *source, const char *name, int, const char *const *, const char *const *) {
  *program = new Program{name, source, "", ""};
  return 0;
}
API nvrtcDestroyProgram(Program **program) {
  delete *program;
  *program = nullptr;
  return 0;
}
API nvrtcCompileProgram(Program *program, int, const char *const *) {
  program->image = "mock cubin\n";
  const std::string folder = MOCK_SOURCES;
  std::string unit = folder + "/" + program->name;
  if (FILE *known = fopen(unit.c_str(), "r")) {
    fclose(known);
    return 0;
  }
  std::string work = folder + "/XXXXXX";
  if (!mkdtemp(work.data())) return 6;
  std::string source = work + "/source.cu", library = work + "/kernels.so";
  FILE *file = fopen(source.c_str(), "w");
  if (!file) return 6;
  fwrite(program->source.data(), 1, program->source.size(), file);
  fclose(file);
  std::string command = "c++ -std=c++17 -O1 -fPIC -shared -Wl,-Bsymbolic -I '" + folder + "' -DEMULATED_SOURCE='\"" + source + "\"' -o '" +
                        library + "' '" + folder + "/emulation.cpp'";
  if (system(command.c_str()) != 0) {
    program->log = "the C++ compiler refused it";
    return 6;
  }
  program->image += library;
  return 0;
}
API nvrtcGetProgramLogSize(Program *program, size_t *size) {
  *size = program->log.size() + 1;
  return 0;
}
API nvrtcGetProgramLog(Program *program, char *log) {
  memcpy(log, program->log.c_str(), program->log.size() + 1);
  return 0;
}
API nvrtcGetCUBINSize(Program *program, size_t *size) {
  *size = program->image.size() + 1;
  return 0;
}
API nvrtcGetCUBIN(Program *program, char *image) {
  memcpy(image, program->image.c_str(), program->image.size() + 1);
  return 0;
}
