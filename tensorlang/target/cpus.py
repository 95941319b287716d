"""The x86-64 CPUs that LLVM knows by name, and the instruction sets of each that are asked for here."""

_V1 = ("sse2",)
_SSSE3 = (*_V1, "ssse3")
_V2 = (*_SSSE3, "sse4.1")
_AVX = (*_V2, "avx")
_V3 = (*_AVX, "avx2", "fma", "f16c")
_WIDE = (*_V3, "avx512f")
_V4 = (*_WIDE, "avx512bw", "avx512dq", "avx512vl")

_NAMES = (
    (_V1, "generic x86-64 nocona k8 k8-sse3 opteron opteron-sse3 athlon64 athlon64-sse3 athlon-fx amdfam10 barcelona"),
    (_SSSE3, "core2 bonnell atom btver1"),
    (_V2, "x86-64-v2 penryn nehalem corei7 westmere silvermont slm goldmont goldmont-plus tremont"),
    (_AVX, "sandybridge corei7-avx bdver1"),
    ((*_AVX, "f16c"), "ivybridge core-avx-i btver2"),
    ((*_AVX, "f16c", "fma"), "bdver2 bdver3"),
    (_V3, "x86-64-v3 haswell core-avx2 broadwell skylake alderlake raptorlake meteorlake gracemont sierraforest"),
    (_V3, "grandridge arrowlake arrowlake-s lunarlake pantherlake clearwaterforest bdver4 znver1 znver2 znver3"),
    (_WIDE, "knl knm"),
    (_V4, "x86-64-v4 skylake-avx512 skx cannonlake cascadelake cooperlake icelake-client icelake-server tigerlake"),
    (_V4, "rocketlake sapphirerapids emeraldrapids graniterapids graniterapids-d diamondrapids znver4 znver5"),
)
X86 = {name: sets for sets, names in _NAMES for name in names.split()}
