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
namespace bf16 {
extern const Build build;
}
#endif

namespace {

std::string wanted_isa() {
    const char* wanted = std::getenv("SCHUSS_ISA");
    return wanted ? wanted : "";
}

}  // namespace

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

const Build* bf16_build() {
#if defined(SCHUSS_X86)
    if (available_builds().back() == &v4::build && __builtin_cpu_supports("avx512bf16")) return &bf16::build;
#endif
    return nullptr;
}

const Build& chosen_build(const std::string& precision) {
    const std::string wanted = wanted_isa();
    if (precision == "bf16") {
        const Build* build = bf16_build();
        if (build == nullptr)
            throw std::invalid_argument("this processor has no instructions for bf16 (AVX512_BF16). Take float32.");
        if (!wanted.empty() && wanted != "v4")
            throw std::invalid_argument("SCHUSS_ISA is " + wanted + ": bf16 needs v4. Set it to that or to nothing.");
        return *build;
    }
    if (precision != "float32")
        throw std::invalid_argument("there is no precision " + precision + ". Take float32 or bf16.");
    const std::vector<const Build*> builds = available_builds();
    if (wanted.empty()) return *builds.back();
    std::string names;
    for (const Build* build : builds) {
        if (wanted == build->isa) return *build;
        names += (names.empty() ? "" : ", ") + std::string(build->isa);
    }
    throw std::invalid_argument(
        "SCHUSS_ISA is " + wanted + ": this processor runs " + names +
        ". Set it to one of these or to nothing.");
}

}  // namespace schuss
