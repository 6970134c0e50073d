#include "../kernels/table.hpp"

CROSSENT_DEFINE_LEVEL(table_neon)
