// Which build of the step runs on this processor.
#pragma once

#include <string>
#include <vector>

#include "build.hpp"

namespace schuss {

// The builds that this processor can run, the plainest first.
std::vector<const Build*> available_builds();

// The build with products in bf16, or null where this processor has no instructions for them.
const Build* bf16_build();

// For precision "float32" the best of the available builds, or the one that the environment variable SCHUSS_ISA names
// (baseline, v3 or v4); for "bf16" the build with products in bf16, where SCHUSS_ISA names v4 or nothing.
// Throws std::invalid_argument, with the reason, where that cannot be run here.
const Build& chosen_build(const std::string& precision = "float32");

}  // namespace schuss
