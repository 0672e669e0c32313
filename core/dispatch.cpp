#include "dispatch.hpp"

#include <cstdlib>
#include <stdexcept>

namespace schuss {

namespace baseline {
extern const Build build;
}
#if defined(SCHUSS_X86)
namespace v3 {
extern const Build build;
}
namespace v4 {
extern const Build build;
}
#endif

std::vector<const Build*> available_builds() {
    std::vector<const Build*> builds = {&baseline::build};
#if defined(SCHUSS_X86)
    __builtin_cpu_init();
    const bool has_v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    const bool has_v4 = has_v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    if (has_v3) builds.push_back(&v3::build);
    if (has_v4) builds.push_back(&v4::build);
#endif
    return builds;
}

const Build& chosen_build() {
    const std::vector<const Build*> builds = available_builds();
    const char* wanted = std::getenv("SCHUSS_ISA");
    if (wanted == nullptr || *wanted == '\0') return *builds.back();
    std::string names;
    for (const Build* build : builds) {
        if (std::string(wanted) == build->isa) return *build;
        names += (names.empty() ? "" : ", ") + std::string(build->isa);
    }
    throw std::invalid_argument(
        "SCHUSS_ISA is " + std::string(wanted) + ": this processor runs " + names +
        ". Set it to one of these or to nothing.");
}

}  // namespace schuss
