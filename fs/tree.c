/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/tree.h"

#include "src/base/banned.h"

const struct tree *const trees[] = {&tree_search, NULL};
