// Which build of the step runs on this processor.
#pragma once

#include <string>
#include <vector>

#include "build.hpp"

namespace schuss {

// The builds that this processor can run, the plainest first.
std::vector<const Build*> available_builds();

// The best of them, or the one that the environment variable SCHUSS_ISA names (baseline, v3 or v4).
// Throws std::invalid_argument where that cannot be run here.
const Build& chosen_build();

}  // namespace schuss
